"""Conversion of tokens, without their secrets, between their own types and the wire."""

from __future__ import annotations

from typing import Final

from mrcore.model.tokens import TokenView
from mrcore.rpc.enums import EnumTable
from mrcore.rpc.roles import Role
from mrcore.rpc.v1 import token_service_pb2 as pb

ROLES: Final = EnumTable(
    "the role of a token",
    {Role.USER: pb.TOKEN_ROLE_USER, Role.WORKER: pb.TOKEN_ROLE_WORKER},
)


def token_to_proto(view: TokenView) -> pb.TokenInfo:
    """Return a token as it travels."""
    return pb.TokenInfo(
        token_id=view.token_id,
        role=ROLES.to_proto[Role(view.role)],
        name=view.name,
        created_at=view.created_at,
        expires_at=view.expires_at,
        current=view.current,
    )


def token_view(info: pb.TokenInfo) -> TokenView:
    """Return a token that has arrived."""
    return TokenView(
        token_id=info.token_id,
        role=ROLES.from_proto(info.role).value,
        name=info.name,
        created_at=info.created_at,
        expires_at=info.expires_at,
        current=info.current,
    )
