"""A server of gRPC that takes calls of known methods alone.

gRPC's server decodes the name of any other method before it asks anybody, and ends where that is
not UTF-8: one request of a stranger would stop a master. So the names of all methods are registered
with its core, and calls of others wait there until the core drops them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

import grpc.aio  # noqa: TID251 - the border to gRPC
from grpc._cython import cygrpc  # type: ignore[attr-defined] # noqa: TID251 - the border to gRPC

UNKNOWN_SECONDS: Final = 5
"""Time after which the core drops calls of unknown methods, and those that nobody takes."""
OPTIONS: Final = (("grpc.server_max_unrequested_time_in_server", UNKNOWN_SECONDS),)


class _Server(cygrpc.AioServer):  # type: ignore[misc] # it has no types
    """The server below gRPC's own, which does not ask for calls of methods that are unknown."""

    def _make_request_call_future(self, method_bytes: bytes | None) -> asyncio.Future[Any]:
        if method_bytes is None:
            return asyncio.get_running_loop().create_future()  # cancelled with the server
        future: asyncio.Future[Any] = super()._make_request_call_future(method_bytes)
        return future


def make_server(
    methods: Iterable[str],
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    options: Sequence[tuple[str, Any]],
) -> grpc.aio.Server:
    """Return a server of some methods, whose handlers the first interceptor finds."""
    server = grpc.aio.server(interceptors=interceptors, options=options)
    inner = _Server(
        cygrpc.get_working_loop(), None, (), tuple(interceptors), (*options, *OPTIONS), None
    )
    inner.add_registered_method_handlers(dict.fromkeys(methods))
    server._server = inner  # type: ignore[attr-defined] # noqa: SLF001 - it has no other seam
    return server
