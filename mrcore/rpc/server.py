"""The shape of a gRPC daemon: who may call it, how it says that it is well, and how it ends.

A daemon ends in this order: health says NOT_SERVING, parked calls are woken (they wait on
`RpcServer.draining` next to their own wake-up), running calls get a grace, then its own loops stop.
A parked call that is not woken would cost the whole grace.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import resource
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, cast

import grpc  # noqa: TID251 - the border to gRPC
import grpc.aio  # noqa: TID251 - the border to gRPC
import msgspec
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2_grpc

from mrcore.errors import ClusterUnreachableError, UsageError
from mrcore.rpc.channel import MAX_MESSAGE_BYTES, token_metadata
from mrcore.rpc.cluster import format_address
from mrcore.rpc.health import HEALTH_PREFIX, Health
from mrcore.rpc.masters import ADDRESSES_MAX, LEADER_KEY, MASTERS_KEY
from mrcore.rpc.status import abort
from mrcore.util.signals import not_ignored

_UNREADABLE: Final = "the bytes of the request are not a message of this call"
_TOO_MANY: Final = "the master answers as many calls as it can: try again later"
MAX_CALLS: Final = 20_000
"""Calls with the token at once, parked ones included; more are answered RESOURCE_EXHAUSTED."""
MAX_CONNECTIONS: Final = 16_384
"""More than the largest cluster has workers and clients; further connections are closed."""
RESERVED_DESCRIPTORS: Final = 256
"""Descriptors that connections leave to the files and the storage of the process."""
HANDSHAKE_SECONDS: Final = 10.0
"""A connection that has not greeted by then is closed."""
IDLE_SECONDS: Final = 60.0
"""A connection without a call is closed after this time; clients connect anew by themselves."""

_OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # With port sharing a second master could bind the same port, and get half of the calls.
    ("grpc.so_reuseport", 0),
    # Let clients ping a parked call as often as `mrcore.rpc.channel` does.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
    # What strangers may hold: connections for a while, and few calls each.
    ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_SECONDS * 1000)),
    ("grpc.max_connection_idle_ms", int(IDLE_SECONDS * 1000)),
    ("grpc.max_concurrent_streams", 100),
    # Windows that grow by themselves would take in megabytes of what nobody reads.
    ("grpc.http2.bdp_probe", 0),
    # A peer that vanished, or does not read what it is sent, is dropped.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


def _is_no_peers_fault(record: logging.LogRecord) -> bool:
    """Return False for the line, with a traceback, that gRPC logs for an answer nobody takes.

    A peer that stops reading, or leaves in the middle, could fill the disk with them.
    """
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != "ExecuteBatchError"


logging.getLogger("grpc._cython.cygrpc").addFilter(_is_no_peers_fault)


class TlsKey(msgspec.Struct, frozen=True):
    """A private key and its self-signed certificate, both PEM."""

    key: str
    certificate: str


class _TokenGuard(grpc.aio.ServerInterceptor):
    """Interceptor that admits calls with the token, and all calls of the health service.

    Strangers get handlers of streams, whatever the method is: gRPC reads the body of a unary call
    before it calls a handler, for as long as it may take, and up to the largest message.
    """

    def __init__(self, token: str, health: Health) -> None:
        self._health = health
        self._deny: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(_deny)
        self._refuse: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            self._name_leader
        )
        self._calls = 0
        self.admit(token)
        self.leader: str | None = None
        """While this server stands by: the address of the leader, empty where it is unknown."""
        self.masters = ""
        """Addresses of all masters, joined by commas, for the metadata of replies."""

    def admit(self, token: str) -> None:
        """Admit calls with this token from now on; nobody where it is empty."""
        self._expected = token_metadata(token)[1].encode() if token else b""

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
        method = handler_call_details.method
        if self._expected and hmac.compare_digest(given, self._expected):
            if self.leader is not None and not method.startswith(HEALTH_PREFIX):
                return self._refuse
            return self._guarded(await continuation(handler_call_details))
        return self._health.for_stranger(method) or (self._deny if self._expected else self._refuse)

    async def _name_leader(
        self, requests: object, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Refuse a call while this master stands by."""
        del requests
        metadata = ((LEADER_KEY, self.leader),) if self.leader else ()
        where = f" The leader is at {self.leader}." if self.leader else ""
        error = ClusterUnreachableError(f"This master stands by and answers no calls.{where}")
        await abort(context, error, metadata)

    def _guarded(self, handler: Any) -> Any:
        """Return a handler that counts its calls, and refuses bytes that are not its message.

        gRPC itself would answer UNKNOWN, which callers try again, and print a traceback.
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

        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with self._counted(request, context):
                return await handler.unary_unary(request, context)

        async def answers(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with self._counted(request, context):
                async for message in handler.unary_stream(request, context):
                    yield message

        async def takes(requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with self._counted(None, context):
                return await handler.stream_unary(_readable(requests), context)

        write = handler.response_serializer
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(takes, read, write)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(answers, read, write)
        return grpc.unary_unary_rpc_method_handler(answer, read, write)

    @contextlib.asynccontextmanager
    async def _counted(
        self, request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[None]:
        """Refuse a request that is not a message, or one too many."""
        if request is _Unreadable:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _UNREADABLE)
        if self._calls >= MAX_CALLS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, _TOO_MANY)
        if self.masters:
            context.set_trailing_metadata(((MASTERS_KEY, self.masters),))
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1


class _Unreadable:
    """Placeholder of a request whose bytes are not a message."""


async def _readable(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield the messages of a stream; raise UsageError for bytes that are not one."""
    async for request in requests:
        if request is _Unreadable:
            raise UsageError(_UNREADABLE)
        yield request


async def _deny(requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    del requests
    await context.abort(
        grpc.StatusCode.UNAUTHENTICATED, "this call does not have the cluster's token"
    )


def max_connections() -> int:
    """Return how many connections this process may hold, and still open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, soft - RESERVED_DESCRIPTORS))


class _Services(grpc.GenericRpcHandler):
    """The services of a server, which may be added while it runs: gRPC's own list may not change.

    It has the two methods that generated code calls to add a servicer.
    """

    def __init__(self) -> None:
        self._handlers: list[grpc.GenericRpcHandler] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Add the handlers of a service."""
        self._handlers.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Do nothing: the generic handlers have the same methods."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a method, None for an unknown one."""
        for handler in self._handlers:
            found = handler.service(handler_call_details)
            if found is not None:
                return found
        return None


class RpcServer:
    """A grpc.aio server with token, limits, health and reflection; made in a running loop."""

    def __init__(self, token: str) -> None:
        """Admit calls with the token, which may come later: nobody is admitted without one."""
        self.draining = asyncio.Event()
        """Set when the server is about to stop: whoever is parked answers now."""
        self._health = Health(self.draining)
        self._guard = _TokenGuard(token, self._health)
        self._services = _Services()
        self._started = False
        self._server = grpc.aio.server(
            interceptors=(self._guard,),
            options=(*_OPTIONS, ("grpc.max_allowed_incoming_connections", max_connections())),
        )
        self._server.add_generic_rpc_handlers((self._services,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc_server)

    @property
    def grpc_server(self) -> grpc.aio.Server:
        """The server as generated code sees it, to add servicers to."""
        return cast("grpc.aio.Server", self._services)

    def admit(self, token: str) -> None:
        """Admit calls with this token from now on."""
        self._guard.admit(token)

    def name_leader(self, address: str) -> None:
        """Name another leader where calls are refused, while this server stands by."""
        if self._guard.leader is not None:
            self._guard.leader = address

    def name_masters(self, addresses: Sequence[str]) -> None:
        """Add the addresses of the cluster's masters to replies; where there is one, nothing."""
        others = addresses[:ADDRESSES_MAX] if len(addresses) > 1 else ()
        self._guard.masters = ",".join(others)

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

    async def stand_by(self, services: tuple[str, ...], leader: str) -> None:
        """Report no service as healthy, and refuse calls: they are for `leader`, if it is known."""
        self._guard.leader = leader
        self._health.services = frozenset((*services, "grpc.health.v1.Health"))
        await self._start()

    async def start(self, services: tuple[str, ...]) -> None:
        """Serve; `services` are the full names to show as healthy and by reflection."""
        from grpc_reflection.v1alpha import reflection

        names = (*services, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self.grpc_server)
        self._health.services = frozenset(names)
        self._guard.leader = None
        self._health.open()
        await self._start()

    async def _start(self) -> None:
        if not self._started:
            self._started = True
            await self._server.start()

    async def drain(self, grace_seconds: float) -> None:
        """Stop in order; calls that still run after the grace are cut off."""
        self.draining.set()
        self._health.open()  # watches of a standby wait for this
        await self._server.stop(grace_seconds)


@contextlib.asynccontextmanager
async def stop_on_signals() -> AsyncIterator[asyncio.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; a second one ends the process.

    One that the process was started to ignore stays ignored.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            # An orderly exit would join threads that may be blocked on a store.
            os._exit(128 + number)
        stop.set()

    numbers = not_ignored(signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
