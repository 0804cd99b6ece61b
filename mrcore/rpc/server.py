"""The shape of a gRPC daemon: who may call it, how it says that it is well, and how it ends.

A daemon ends in this order: health says NOT_SERVING, parked calls are woken (they wait on
`RpcServer.draining` next to their own wake-up), running calls get a grace, then its own loops stop.
A parked call that is not woken would cost the whole grace.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc  # noqa: TID251 - the border to gRPC
import grpc.aio  # noqa: TID251 - the border to gRPC
import msgspec
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_health.v1.health_pb2 import HealthCheckResponse

from mrcore.config import format_address
from mrcore.errors import UsageError
from mrcore.rpc.channel import MAX_MESSAGE_BYTES, token_metadata

_HEALTH_PREFIX: Final = "/grpc.health.v1.Health/"
_UNREADABLE: Final = "the bytes of the request are no message of this call"
MAX_CALLS: Final = 20_000
"""Calls at once, parked ones included; more are answered RESOURCE_EXHAUSTED."""

_OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # With port sharing a second master could bind the same port, and get half of the calls.
    ("grpc.so_reuseport", 0),
    # Let clients ping a parked call as often as `mrcore.rpc.channel` does.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
)


class TlsKey(msgspec.Struct, frozen=True):
    """A private key and its self-signed certificate, both PEM."""

    key: str
    certificate: str


class _TokenGuard(grpc.aio.ServerInterceptor):
    """Lets in calls that bear the token, and the health service's to everybody."""

    def __init__(self, token: str) -> None:
        self._expected = token_metadata(token)[1].encode()
        self._deny: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(_deny)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler, or one that refuses."""
        given = b""
        for key, value in handler_call_details.invocation_metadata or ():
            if key == "authorization":
                given = value if isinstance(value, bytes) else value.encode()
        allowed = hmac.compare_digest(given, self._expected)
        if allowed or handler_call_details.method.startswith(_HEALTH_PREFIX):
            return _reading(await continuation(handler_call_details))
        return self._deny


class _Unreadable:
    """Stands for a request whose bytes are no message."""


def _reading(handler: Any) -> Any:
    """Return a handler that answers INVALID_ARGUMENT to bytes that are no message of its kind.

    gRPC itself would answer UNKNOWN, which callers try again, and print a traceback.
    """
    if handler is None or handler.request_streaming or handler.request_deserializer is None:
        return handler

    def read(data: bytes) -> Any:
        try:
            return handler.request_deserializer(data)
        except DecodeError:
            return _Unreadable

    async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        if request is _Unreadable:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _UNREADABLE)
        return await handler.unary_unary(request, context)

    async def answers(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        if request is _Unreadable:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _UNREADABLE)
        async for message in handler.unary_stream(request, context):
            yield message

    write = handler.response_serializer
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(answers, read, write)
    return grpc.unary_unary_rpc_method_handler(answer, read, write)


async def _deny(request: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    await context.abort(
        grpc.StatusCode.UNAUTHENTICATED, "this call does not bear the cluster's token"
    )


class RpcServer:
    """A grpc.aio server with token, limits, health and reflection; made in a running loop."""

    def __init__(self, token: str) -> None:
        self.draining = asyncio.Event()
        """Set when the server is about to stop: whoever is parked answers now."""
        self._health = health_aio.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=(_TokenGuard(token),), options=_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    @property
    def grpc_server(self) -> grpc.aio.Server:
        """The server to add servicers to, before `start`."""
        return self._server

    def bind(self, host: str, port: int, tls: TlsKey | None) -> int:
        """Take the port (0: any) and return it; raise UsageError when it cannot be had."""
        address = format_address(host, port)
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            pair = (tls.key.encode(), tls.certificate.encode())
            return self._server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        except RuntimeError:
            raise UsageError(
                f"{address} cannot be listened on: another program has the port, or the address is "
                "not of this machine."
            ) from None

    async def start(self, services: tuple[str, ...]) -> None:
        """Serve; `services` are the full names to show as healthy and by reflection."""
        from grpc_reflection.v1alpha import reflection

        names = (*services, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        for name in services:
            await self._health.set(name, HealthCheckResponse.SERVING)
        await self._server.start()

    async def drain(self, grace_seconds: float) -> None:
        """Stop in order; calls that still run after the grace are cut off."""
        await self._health.enter_graceful_shutdown()
        self.draining.set()
        await self._server.stop(grace_seconds)


@contextlib.asynccontextmanager
async def stop_on_signals() -> AsyncIterator[asyncio.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; a second one ends the process."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            # An orderly exit would join threads that may be blocked on a store.
            os._exit(128 + number)
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
