"""A server of gRPC that takes calls of known methods alone.

gRPC's server decodes the name of any other method before it asks anybody, and ends where that is
not UTF-8: one request of a stranger would stop a master. So the names of all methods are registered
with its core, and calls of others wait there until the core drops them.

This needs parts of gRPC that are not public. A version without them gets gRPC's own server, which
serves the same calls, more slowly, and a warning.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

import grpc.aio  # noqa: TID251 - the border to gRPC
from grpc._cython import cygrpc  # type: ignore[attr-defined] # noqa: TID251 - the border to gRPC

UNKNOWN_SECONDS: Final = 5
"""Time after which the core drops calls of unknown methods, and those that nobody takes."""
OPTIONS: Final = (("grpc.server_max_unrequested_time_in_server", UNKNOWN_SECONDS),)
INNER_PARTS: Final = (
    "_MethodResolver",
    "_handle_rpc",
    "_schedule_rpc_coro",
    "AioServer._make_request_call_future",
    "AioServer.add_registered_method_handlers",
)
"""Parts of gRPC's core that are not public, and that this module uses."""

log = logging.getLogger(__name__)


class _Server(cygrpc.AioServer):  # type: ignore[misc] # it has no types
    """The server below gRPC's own, which does not ask for calls of methods that are unknown.

    gRPC's loop waits for the next call of any method, and so looks at all methods for each call.
    Here each method has a callback of its own, and that loop waits for the server's end.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, interceptors: tuple[Any, ...], *rest: Any):
        super().__init__(loop, None, (), interceptors, *rest)
        self._own_interceptors = interceptors
        self._resolver = cygrpc._MethodResolver([], {})  # noqa: SLF001 - it has no other seam
        self._ended: asyncio.Future[Any] | None = None
        """Future that gRPC's loop waits for: it fails as the requests of calls do at the end."""
        self._running: set[asyncio.Task[Any]] = set()
        """Calls that are being answered: the event loop itself keeps no task alive."""

    def _make_request_call_future(self, method_bytes: bytes | None) -> asyncio.Future[Any]:
        if self._ended is None or self._ended.done():
            self._ended = asyncio.get_running_loop().create_future()
        if method_bytes is not None:
            self._listen(method_bytes)
        return self._ended

    def _listen(self, method: bytes) -> None:
        """Ask for the next call of a method."""
        request: asyncio.Future[Any] = super()._make_request_call_future(method)
        request.add_done_callback(partial(self._take, method))

    def _take(self, method: bytes, request: asyncio.Future[Any]) -> None:
        """Have a call answered that has come, and ask for the next one."""
        if request.cancelled():
            return
        error = request.exception()
        if error is not None:
            if self._ended is not None and not self._ended.done():
                self._ended.set_exception(error)
            return
        self._listen(method)
        state, loop, name = request.result(), asyncio.get_running_loop(), method.decode()
        # The arguments are those of gRPC's own loop, whose limit on calls is not used.
        answer = cygrpc._handle_rpc(  # noqa: SLF001
            name, self._resolver, self._own_interceptors, state, loop, False
        )
        task = loop.create_task(cygrpc._schedule_rpc_coro(answer, state, loop, name))  # noqa: SLF001
        self._running.add(task)
        task.add_done_callback(self._running.discard)


def make_server(
    methods: Iterable[str],
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    options: Sequence[tuple[str, Any]],
) -> grpc.aio.Server:
    """Return a server of some methods, whose handlers the first interceptor finds."""
    server = grpc.aio.server(interceptors=interceptors, options=options)
    missing = missing_parts()
    if missing:
        log.warning(
            "grpcio %s has no %s: calls cost more, and a malformed name of a method can stop this "
            "process. Install the version of constraints.txt.",
            grpc.__version__,
            missing[0],
        )
        return server
    inner = _Server(cygrpc.get_working_loop(), tuple(interceptors), (*options, *OPTIONS), None)
    inner.add_registered_method_handlers(dict.fromkeys(methods))
    server._server = inner  # type: ignore[attr-defined] # noqa: SLF001 - it has no other seam
    return server


def missing_parts() -> list[str]:
    """Return which of `INNER_PARTS` the installed gRPC does not have."""
    return [name for name in INNER_PARTS if not _has(cygrpc, name.split("."))]


def _has(place: object, names: Sequence[str]) -> bool:
    return not names or (hasattr(place, names[0]) and _has(getattr(place, names[0]), names[1:]))
