"""The shape of a gRPC daemon: who may call it, how it says that it is well, and how it ends.

A daemon ends in this order: health says NOT_SERVING, parked calls are woken (they wait on
`RpcServer.draining` next to their own wake-up), running calls get a grace, then its own loops stop.
A parked call that is not woken would cost the whole grace.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, cast

import grpc  # noqa: TID251 - the border to gRPC
import grpc.aio  # noqa: TID251 - the border to gRPC
from grpc_health.v1 import health_pb2_grpc

from mrcore.errors import UsageError
from mrcore.rpc.certificates import TlsKey
from mrcore.rpc.channel import MAX_MESSAGE_BYTES
from mrcore.rpc.cluster import format_address
from mrcore.rpc.guard import Guard
from mrcore.rpc.health import Health
from mrcore.rpc.masters import ADDRESSES_MAX
from mrcore.rpc.registered import make_server
from mrcore.rpc.roles import ABSENT, METHODS
from mrcore.rpc.tokens import TokenTable
from mrcore.util.signals import not_ignored

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
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
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
    """A grpc.aio server with tokens, limits, health and reflection; made in a running loop."""

    def __init__(self, tokens: TokenTable) -> None:
        """Admit calls with these tokens, which may change: nobody is admitted without one."""
        self.draining = asyncio.Event()
        """Set when the server is about to stop: whoever is parked answers now."""
        self._health = Health(self.draining)
        self._services = _Services()
        self._guard = Guard(tokens, self._health, self._services.service)
        self._started = False
        self._server = make_server(
            (*METHODS, *ABSENT),
            (self._guard,),
            (*_OPTIONS, ("grpc.max_allowed_incoming_connections", max_connections())),
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc_server)

    @property
    def grpc_server(self) -> grpc.aio.Server:
        """The server as generated code sees it, to add servicers to."""
        return cast("grpc.aio.Server", self._services)

    def name_leader(self, address: str) -> None:
        """Name another leader where calls are refused, while this server stands by."""
        if self._guard.leader is not None:
            self._guard.leader = address

    def name_masters(self, addresses: Sequence[str]) -> None:
        """Add the addresses of the cluster's masters to replies; where there is one, nothing."""
        others = addresses[:ADDRESSES_MAX] if len(addresses) > 1 else ()
        self._guard.masters = ",".join(others)

    def bind(self, host: str, port: int, tls: TlsKey | None, *, mutual: bool = False) -> int:
        """Take the port (0: any) and return it; raise UsageError when it cannot be had.

        If `mutual`, a connection needs a certificate that the key of `tls` has signed.
        """
        address = format_address(host, port)
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            certificate = tls.certificate.encode()
            accepted = grpc.ssl_server_credentials(
                [(tls.key.encode(), certificate)], certificate if mutual else None, mutual
            )
            return self._server.add_secure_port(address, accepted)
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
