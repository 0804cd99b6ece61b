"""Metrics for Prometheus over HTTP, shared by both daemons.

`prometheus_client` serves from its own threads. State that belongs to a daemon's event loop is
read inside that loop, through `Window`.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import msgspec
from prometheus_client import (
    CollectorRegistry,
    Info,
    ProcessCollector,
    disable_created_metrics,
    make_wsgi_app,
    start_http_server,
)
from prometheus_client.metrics_core import GaugeMetricFamily

from mrcore import __version__
from mrcore.errors import UsageError
from mrcore.rpc.cluster import parse_address

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

LOOK_SECONDS: Final = 5.0
"""Time after which an event loop that does not answer is reported as not responsive."""
TASK_BUCKETS: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Histogram bounds for attempts, in seconds."""

T = TypeVar("T")


def new_registry() -> CollectorRegistry:
    """Return a registry with the metrics of every mrcore process."""
    # Otherwise each metric gets a `_created` series that nothing reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    build = Info("mrcore_build", "Version of this process", registry=registry)
    build.info({"version": __version__, "python": platform.python_version()})
    return registry


@dataclass(frozen=True, slots=True)
class Vitals:
    """Answer of a daemon to a look at `/healthz`."""

    healthy: bool
    facts: Mapping[str, str | int | float]
    """Other values to see, by name."""


@contextlib.contextmanager
def serve(address: str, registry: CollectorRegistry, look: Callable[[], Vitals]) -> Iterator[int]:
    """Serve metrics at HOST:PORT (port 0: any) from threads; yield the port.

    `look` answers `/healthz`, in one of these threads: it must not wait. Raises UsageError if the
    address cannot be used.
    """
    host, port = parse_address(address)
    if not address.endswith(f":{port}"):
        raise UsageError(f"{address!r} has no port for the metrics. Write HOST:PORT.")
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise UsageError(
            f"Metrics cannot be served at {address} ({error.strerror}). Choose another --metrics."
        ) from None
    server.set_app(_with_health(make_wsgi_app(registry), look))
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _with_health(others: WSGIApplication, look: Callable[[], Vitals]) -> WSGIApplication:
    """Return an application that answers `/healthz` itself, and leaves the rest to another."""

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != "/healthz":
            return others(environ, start)
        vitals = look()
        start(
            "200 OK" if vitals.healthy else "503 Service Unavailable",
            [("Content-Type", "application/json"), ("Cache-Control", "no-store")],
        )
        return [msgspec.json.encode({"healthy": vitals.healthy, **vitals.facts}) + b"\n"]

    return answer


class Window(Generic[T]):
    """Read access from another thread to the state of an event loop."""

    def __init__(self, prefix: str, look: Callable[[], Awaitable[T]]) -> None:
        self._name = f"{prefix}_responsive"
        self._look = look
        self._loop = asyncio.get_running_loop()

    def open(self) -> tuple[T | None, GaugeMetricFamily]:
        """Return the state (None if the loop is stuck) and a metric that reports which."""
        seen = None
        # A closed loop has ended; calling into it raises.
        with contextlib.suppress(TimeoutError, RuntimeError):
            future = asyncio.run_coroutine_threadsafe(self._seen(), self._loop)
            seen = future.result(LOOK_SECONDS)
        metric = GaugeMetricFamily(
            self._name, "1 while the event loop responds, 0 while it is stuck"
        )
        metric.add_metric([], float(seen is not None))
        return seen, metric

    async def _seen(self) -> T:
        return await self._look()


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """Return a gauge without labels."""
    return GaugeMetricFamily(name, text, value=value)
