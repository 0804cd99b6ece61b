"""The gRPC service for tokens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, TypeVar

from mrcore.errors import LimitError
from mrcore.master.shell.calls import Context, answering
from mrcore.master.shell.tokens import Tokens
from mrcore.model.tokens import TokenView
from mrcore.rpc.bounds import check_count, check_name, seconds_within
from mrcore.rpc.convert_tokens import ROLES, token_to_proto
from mrcore.rpc.roles import Role
from mrcore.rpc.tokens import Accepted
from mrcore.rpc.v1 import token_service_pb2 as pb
from mrcore.rpc.v1 import token_service_pb2_grpc

log = logging.getLogger("mrcore.master")

GRACE_SECONDS_MAX: Final = 30 * 86_400.0
LIFETIME_SECONDS_MAX: Final = 10 * 365 * 86_400.0
LIFETIME_SECONDS_MIN: Final = 1.0
CHANGES_MAX: Final = 8
"""Changes that wait for the store at once: each has a thread."""

_Result = TypeVar("_Result")


class TokenService(token_service_pb2_grpc.TokenServiceServicer):
    """Answers about tokens, and changes of them."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._changes = 0

    @answering
    async def ListTokens(  # noqa: N802 - named by the proto
        self, request: pb.ListTokensRequest, context: Context
    ) -> pb.ListTokensResponse:
        """Return the tokens that are valid now."""
        del request, context
        return pb.ListTokensResponse(tokens=map(self._shown, self._tokens.listed()))

    @answering
    async def RotateTokens(  # noqa: N802 - named by the proto
        self, request: pb.RotateTokensRequest, context: Context
    ) -> pb.RotateTokensResponse:
        """Replace the cluster's own tokens."""
        del context
        check_count(len(request.roles), "the number of roles", len(Role))
        roles = sorted({ROLES.from_proto(number) for number in request.roles} or Role)
        grace = seconds_within(request.grace_seconds, "the grace", 0.0, GRACE_SECONDS_MAX)
        await self._change(lambda: self._tokens.rotate(roles, grace))
        log.info("has replaced tokens", extra={"role": ",".join(roles)})
        return pb.RotateTokensResponse(tokens=map(self._shown, self._tokens.listed()))

    @answering
    async def CreateToken(  # noqa: N802 - named by the proto
        self, request: pb.CreateTokenRequest, context: Context
    ) -> pb.CreateTokenResponse:
        """Make a token for somebody."""
        del context
        role = ROLES.from_proto(request.role)
        name = check_name(request.name, "the name of the token")
        lifetime = request.lifetime_seconds
        if lifetime:
            seconds_within(lifetime, "the lifetime", LIFETIME_SECONDS_MIN, LIFETIME_SECONDS_MAX)
        token, made = await self._change(lambda: self._tokens.create(role, name, lifetime))
        log.info("has made a token", extra={"token_id": made.token_id, "role": role.value})
        return pb.CreateTokenResponse(token=token, info=self._shown(made))

    @answering
    async def RevokeToken(  # noqa: N802 - named by the proto
        self, request: pb.RevokeTokenRequest, context: Context
    ) -> pb.RevokeTokenResponse:
        """End a token."""
        del context
        name_or_id = check_name(request.token_id, "the name or id of the token")
        ended = await self._change(lambda: self._tokens.revoke(name_or_id))
        log.info("has revoked a token", extra={"token_id": ended.token_id})
        return pb.RevokeTokenResponse(info=self._shown(ended))

    async def _change(self, change: Callable[[], _Result]) -> _Result:
        """Make a change in a thread, and no more of them at once than there is room for."""
        if self._changes >= CHANGES_MAX:
            raise LimitError("Many changes of tokens wait for the store. Try again later.")
        self._changes += 1
        try:
            return await asyncio.to_thread(change)
        finally:
            self._changes -= 1

    def _shown(self, one: Accepted) -> pb.TokenInfo:
        return token_to_proto(
            TokenView(
                token_id=one.token_id,
                role=one.role.value,
                name=one.name,
                created_at=one.created_at,
                expires_at=one.expires_at,
                current=self._tokens.is_current(one),
            )
        )
