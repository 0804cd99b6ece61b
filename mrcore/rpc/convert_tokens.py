"""Conversion of tokens, without their secrets, between their own types and the wire."""

from __future__ import annotations

from typing import Final

from mrcore.errors import UsageError
from mrcore.model.tokens import TokenView
from mrcore.rpc.roles import Role
from mrcore.rpc.v1 import token_service_pb2 as pb

_TO_WIRE: Final = {
    Role.USER: pb.TOKEN_ROLE_USER,
    Role.WORKER: pb.TOKEN_ROLE_WORKER,
}
_FROM_WIRE: Final = {number: role for role, number in _TO_WIRE.items()}


def role_to_proto(role: Role) -> pb.TokenRole:
    """Return the role as it travels."""
    return _TO_WIRE[role]


def role_from_proto(number: pb.TokenRole) -> Role:
    """Return the role that has arrived; raise UsageError for any other number."""
    role = _FROM_WIRE.get(number)
    if role is None:
        raise UsageError(f"The role {number} of a token means nothing here. Give user or worker.")
    return role


def token_to_proto(view: TokenView) -> pb.TokenInfo:
    """Return a token as it travels."""
    return pb.TokenInfo(
        token_id=view.token_id,
        role=_TO_WIRE[Role(view.role)],
        name=view.name,
        created_at=view.created_at,
        expires_at=view.expires_at,
        current=view.current,
    )


def token_view(info: pb.TokenInfo) -> TokenView:
    """Return a token that has arrived."""
    return TokenView(
        token_id=info.token_id,
        role=role_from_proto(info.role).value,
        name=info.name,
        created_at=info.created_at,
        expires_at=info.expires_at,
        current=info.current,
    )
