"""The guard of a server: who may call what, how many calls at once, and with which bytes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc  # noqa: TID251 - the border to gRPC
import grpc.aio  # noqa: TID251 - the border to gRPC
from google.protobuf.message import DecodeError

from mrcore.errors import ClusterUnreachableError, NotAllowedError, UsageError
from mrcore.rpc.health import HEALTH_PREFIX, Health
from mrcore.rpc.masters import LEADER_KEY, MASTERS_KEY
from mrcore.rpc.roles import METHODS, WORKERS, Role, refusal
from mrcore.rpc.status import abort
from mrcore.rpc.tokens import TokenTable

_UNREADABLE: Final = "the bytes of the request are not a message of this call"
_TOO_MANY: Final = "the master answers as many calls as it can: try again later"
_STRANGE: Final = "this call does not have a token of the cluster that is valid"
_STANDS_BY: Final = "This master stands by and answers no calls."
HANDLERS_MAX: Final = 1_024
"""Guarded handlers that are kept: more than callers with different tokens have methods."""
MAX_CALLS: Final = 20_000
"""Calls with a token at once, parked ones included; more are answered RESOURCE_EXHAUSTED."""

_Context = grpc.aio.ServicerContext[Any, Any]


class Guard(grpc.aio.ServerInterceptor):
    """Interceptor that admits a call by the role of its token; the health service is open.

    Who is refused gets the handler of a stream, whatever the method is: gRPC reads the body of a
    unary call before it calls a handler, for as long as it may take, and up to the largest message.
    """

    def __init__(
        self, tokens: TokenTable, health: Health, find: Callable[[grpc.HandlerCallDetails], Any]
    ) -> None:
        """Admit by `tokens`; `find` returns the handler of a method, or None."""
        self._tokens = tokens
        self._find = find
        self._health = health
        self._deny: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(_deny)
        self._refuse: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            self._name_leader
        )
        self._turn_away: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            _stand_by
        )
        self._handlers: dict[tuple[str, bytes], tuple[Any, Any]] = {}
        """Handlers of a method, without and with a guard, by the method and the caller's header."""
        self._calls = 0
        self.leader: str | None = None
        """While this server stands by: the address of the leader, empty where it is unknown."""
        self.masters = ""
        """Addresses of all masters, joined by commas, for the metadata of replies."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler, or one that refuses."""
        del continuation  # gRPC has no handlers: methods are added while a server runs
        given = b""
        for key, value in handler_call_details.invocation_metadata or ():
            if key == "authorization":
                given = value if isinstance(value, bytes) else value.encode()
        method = handler_call_details.method
        held = self._tokens.roles_of(given)
        if not held:
            if given:
                self._tokens.on_unknown()
            return self._for_stranger(method, given)
        if self.leader is not None and not method.startswith(HEALTH_PREFIX):
            return self._refuse
        allowed = METHODS.get(method)
        if allowed is None:
            return None  # nobody may call it, so it is as if it were not there
        if not held & allowed:
            return _forbidding(method, held)

        handler = self._find(handler_call_details)
        call = (method, given)
        known = self._handlers.get(call)
        if known is not None and known[0] is handler:
            return known[1]

        def admits() -> bool:
            return bool(self._tokens.roles_of(given) & allowed)

        guarded = self._guarded(handler, admits, parks=allowed == WORKERS)
        if len(self._handlers) >= HANDLERS_MAX:
            self._handlers.clear()
        self._handlers[call] = (handler, guarded)
        return guarded

    def _for_stranger(self, method: str, given: bytes) -> Any:
        """Return the handler of a call without a valid token.

        The leader may have made a token that a standby has yet to read. So the standby does not
        judge a token that it does not know: the caller tries again, and the next leader knows it.
        """
        open_to_all = self._health.for_stranger(method)
        if open_to_all is not None:
            return open_to_all
        is_new_to_us = not self._tokens or (self.leader is not None and given)
        return self._turn_away if is_new_to_us else self._deny

    async def _name_leader(self, requests: object, context: _Context) -> None:
        """Refuse a call while this master stands by."""
        del requests
        metadata = ((LEADER_KEY, self.leader),) if self.leader else ()
        where = f" The leader is at {self.leader}." if self.leader else ""
        await abort(context, ClusterUnreachableError(f"{_STANDS_BY}{where}"), metadata)

    def _guarded(self, handler: Any, admits: Callable[[], bool], *, parks: bool) -> Any:
        """Return a handler that counts its calls, and refuses bytes that are not its message.

        gRPC itself would answer UNKNOWN, which callers try again, and print a traceback. `admits`
        is asked again before each answer of a stream or of a call that `parks`: both may outlive
        their token. Other calls have done their work by then, so their caller is to know.
        """
        if handler is None or handler.request_deserializer is None:
            return handler
        if handler.request_streaming and handler.response_streaming:
            return handler

        def read(data: bytes) -> Any:
            try:
                return handler.request_deserializer(data)
            except DecodeError:
                return _Unreadable

        async def answer(request: Any, context: _Context) -> Any:
            await self._begin(request, context)
            try:
                message = await handler.unary_unary(request, context)
                if parks:
                    await _check(admits, context)
                return message
            finally:
                self._calls -= 1

        async def answers(request: Any, context: _Context) -> Any:
            await self._begin(request, context)
            try:
                async with contextlib.aclosing(handler.unary_stream(request, context)) as messages:
                    async for message in messages:
                        await _check(admits, context)
                        yield message
            finally:
                self._calls -= 1

        async def takes(requests: Any, context: _Context) -> Any:
            await self._begin(None, context)
            try:
                return await handler.stream_unary(_readable(requests), context)
            finally:
                self._calls -= 1

        write = handler.response_serializer
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(takes, read, write)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(answers, read, write)
        return grpc.unary_unary_rpc_method_handler(answer, read, write)

    async def _begin(self, request: Any, context: _Context) -> None:
        """Count a call; refuse a request that is not a message, or one too many."""
        if request is _Unreadable:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _UNREADABLE)
        if self._calls >= MAX_CALLS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, _TOO_MANY)
        if self.masters:
            context.set_trailing_metadata(((MASTERS_KEY, self.masters),))
        self._calls += 1


class _Unreadable:
    """Placeholder of a request whose bytes are not a message."""


async def _readable(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield the messages of a stream; raise UsageError for bytes that are not one."""
    async for request in requests:
        if request is _Unreadable:
            raise UsageError(_UNREADABLE)
        yield request


async def _check(admits: Callable[[], bool], context: _Context) -> None:
    """End a call whose token has expired or was revoked meanwhile."""
    if not admits():
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, _STRANGE)


async def _stand_by(requests: object, context: _Context) -> None:
    """Refuse a call of a stranger, who does not learn where the leader is."""
    del requests
    await abort(context, ClusterUnreachableError(_STANDS_BY))


async def _deny(requests: object, context: _Context) -> None:
    del requests
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, _STRANGE)


def _forbidding(method: str, held: frozenset[Role]) -> grpc.RpcMethodHandler[Any, Any]:
    """Return a handler that refuses a call for which its token is of the wrong role."""

    async def forbid(requests: object, context: _Context) -> None:
        del requests
        await abort(context, NotAllowedError(refusal(method, held)))

    return grpc.stream_stream_rpc_method_handler(forbid)
