"""Metrics for Prometheus over HTTP: what the two daemons share.

`prometheus_client` answers in threads of its own; what a daemon's event loop owns is looked at in
that loop, through `Window`.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Info,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.metrics_core import GaugeMetricFamily

from mrcore import __version__
from mrcore.errors import UsageError
from mrcore.rpc.cluster import parse_address

LOOK_SECONDS: Final = 5.0
"""A loop that does not let us look within this time is shown as not responsive."""
TASK_BUCKETS: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Seconds of an attempt, from tests in a laptop's cluster to large splits."""

T = TypeVar("T")


def new_registry() -> CollectorRegistry:
    """Return a registry with what is known of any process of ours."""
    # It would be a series more for each of ours, which nothing reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    build = Info("mrcore_build", "The version that runs here", registry=registry)
    build.info({"version": __version__, "python": platform.python_version()})
    return registry


@contextlib.contextmanager
def serve(address: str, registry: CollectorRegistry) -> Iterator[int]:
    """Answer at HOST:PORT (port 0: any) from threads; yield the port.

    Raises UsageError when the address cannot be had.
    """
    host, port = parse_address(address)
    if not address.endswith(f":{port}"):
        raise UsageError(f"{address!r} names no port for the metrics: write HOST:PORT.")
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise UsageError(
            f"Metrics cannot be served at {address} ({error.strerror}): name another --metrics."
        ) from None
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Window(Generic[T]):
    """A look into what an event loop owns, from another thread."""

    def __init__(self, prefix: str, look: Callable[[], Awaitable[T]]) -> None:
        self._name = f"{prefix}_responsive"
        self._look = look
        self._loop = asyncio.get_running_loop()

    def open(self) -> tuple[T | None, GaugeMetricFamily]:
        """Return what is seen, None when the loop is stuck, and the metric that says which."""
        seen = None
        # A loop that is closed has ended, and a look into it raises.
        with contextlib.suppress(TimeoutError, RuntimeError):
            future = asyncio.run_coroutine_threadsafe(self._seen(), self._loop)
            seen = future.result(LOOK_SECONDS)
        metric = GaugeMetricFamily(
            self._name, "1 while the event loop lets us look, 0 when it is stuck"
        )
        metric.add_metric([], float(seen is not None))
        return seen, metric

    async def _seen(self) -> T:
        return await self._look()


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """Return a gauge without labels."""
    return GaugeMetricFamily(name, text, value=value)
