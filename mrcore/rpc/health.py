"""The standard health service, which answers strangers too, within bounds.

A stranger is a call without the cluster's token. Nothing that it sends is read: a large body would
cost memory and hold up the event loop. So it gets the health of the server as a whole, which is
that of every service.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc  # noqa: TID251 - the border to gRPC
import grpc.aio  # noqa: TID251 - the border to gRPC
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

HEALTH_PREFIX: Final = "/grpc.health.v1.Health/"
MAX_STRANGERS: Final = 64
"""Calls of strangers at once. One more ends the oldest, which is a Watch or does not read."""
STRANGER_SECONDS: Final = 5.0
"""Time limit for a stranger's Check: it may refuse to take the answer."""

_Context = grpc.aio.ServicerContext[Any, Any]


class Health(health_pb2_grpc.HealthServicer):
    """The health of the services: SERVING from `open` on, until the server drains."""

    def __init__(self, draining: asyncio.Event) -> None:
        self.services: frozenset[str] = frozenset()
        """Names of the services; the empty name stands for the server as a whole."""
        self._opened = asyncio.Event()
        self._draining = draining
        self._strangers: dict[asyncio.Timeout, None] = {}
        """The time limits of strangers' calls, oldest first."""
        self._for_strangers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            HEALTH_PREFIX + name: grpc.stream_stream_rpc_method_handler(
                answer, None, HealthCheckResponse.SerializeToString
            )
            for name, answer in (("Check", self._check), ("Watch", self._watch))
        }

    def open(self) -> None:
        """Report from now on that the services answer."""
        self._opened.set()

    def for_stranger(self, method: str) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler of a call without the token; None for all but this service."""
        return self._for_strangers.get(method)

    async def Check(  # noqa: N802 - named by the proto
        self, request: HealthCheckRequest, context: _Context
    ) -> HealthCheckResponse:
        """Return how a service does; abort with NOT_FOUND for an unknown one."""
        status = self._status(request.service)
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return HealthCheckResponse(status=status)

    async def Watch(  # noqa: N802 - named by the proto
        self, request: HealthCheckRequest, context: _Context
    ) -> AsyncIterator[HealthCheckResponse]:
        """Yield how a service does: now, when it is opened, and when the server drains."""
        del context
        yield HealthCheckResponse(status=self._status(request.service))
        for changed in (self._opened, self._draining):
            if not changed.is_set():
                await changed.wait()
                yield HealthCheckResponse(status=self._status(request.service))

    def _status(self, service: str) -> Any:
        if service and service not in self.services:
            return HealthCheckResponse.SERVICE_UNKNOWN
        if self._draining.is_set() or not self._opened.is_set():
            return HealthCheckResponse.NOT_SERVING
        return HealthCheckResponse.SERVING

    async def _check(self, requests: object, context: _Context) -> None:
        del requests
        async with self._admitted(context, STRANGER_SECONDS):
            await context.write(await self.Check(HealthCheckRequest(), context))

    async def _watch(self, requests: object, context: _Context) -> None:
        del requests
        async with self._admitted(context, None):
            async for response in self.Watch(HealthCheckRequest(), context):
                await context.write(response)

    @contextlib.asynccontextmanager
    async def _admitted(self, context: _Context, seconds: float | None) -> AsyncIterator[None]:
        """Bound a stranger's call in time, and end the oldest where there are too many."""
        try:
            async with asyncio.timeout(seconds) as limit:
                self._strangers[limit] = None
                if len(self._strangers) > MAX_STRANGERS:
                    oldest = next(iter(self._strangers))
                    del self._strangers[oldest]
                    oldest.reschedule(asyncio.get_running_loop().time())
                try:
                    yield
                finally:
                    self._strangers.pop(limit, None)
        except TimeoutError:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "this call without the cluster's token took too long, or there are too many",
            )
