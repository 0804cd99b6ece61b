"""A worker's metrics for Prometheus; imported only where they are asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mrcore.daemon.metrics import TASK_BUCKETS, Vitals, Window, gauge, new_registry, serve
from mrcore.model.stages import KINDS, kind_of_name
from mrcore.model.task import FailureKind, TaskFailure, TaskResult
from mrcore.worker.shell.health import Health, HealthSnapshot

_SUCCEEDED: Final = "succeeded"
_OUTCOMES: Final = (_SUCCEEDED, *(kind.value for kind in FailureKind))


@contextlib.contextmanager
def measured(address: str, health: Health) -> Iterator[int]:
    """Serve the metrics of a worker for as long as the `with` block; yield the port."""
    registry = new_registry()
    attempts = _Attempts(registry)
    health.agent.observe(attempts.observe)
    registry.register(_Now(health))
    with serve(address, registry, lambda: Vitals(health.healthy(), {"role": "worker"})) as port:
        yield port


class _Attempts:
    """Counters of the attempts that end here."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter(
            "mrcore_worker_attempts_total",
            "Attempts that ended here, by outcome: succeeded, or whose failure it was",
            ("kind", "outcome"),
            registry=registry,
        )
        self._seconds = Histogram(
            "mrcore_worker_attempt_seconds",
            "Time of attempts that succeeded here",
            ("kind",),
            buckets=TASK_BUCKETS,
            registry=registry,
        )
        self._records = Counter(
            "mrcore_worker_records_total",
            "Records read by attempts that succeeded here",
            ("kind",),
            registry=registry,
        )
        self._bytes = Counter(
            "mrcore_worker_read_bytes_total",
            "Bytes read by attempts that succeeded here",
            ("kind",),
            registry=registry,
        )

        # Series that are there from the beginning have no first rise that a rate would miss.
        for kind in KINDS:
            for metric in (self._seconds, self._records, self._bytes):
                metric.labels(kind)
            for outcome in _OUTCOMES:
                self._ended.labels(kind, outcome)

    def observe(self, stage: str, result: TaskResult) -> None:
        """Count an attempt at a task of this stage that has ended."""
        kind = kind_of_name(stage)
        if isinstance(result, TaskFailure):
            self._ended.labels(kind, result.kind.value).inc()
            return
        self._ended.labels(kind, _SUCCEEDED).inc()
        self._seconds.labels(kind).observe(result.elapsed_seconds)
        self._records.labels(kind).inc(result.records_in)
        self._bytes.labels(kind).inc(result.bytes_in)


class _Now(Collector):
    """Gauges of the worker at the moment of a scrape."""

    def __init__(self, health: Health) -> None:
        async def look() -> HealthSnapshot:
            return health.look()

        self._window = Window("mrcore_worker", look)

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges; called in a thread of the HTTP server."""
        snapshot, responsive = self._window.open()
        yield responsive
        if snapshot is None:
            return
        yield gauge("mrcore_worker_slots", "Attempts that may run at once", snapshot.slots)
        yield gauge("mrcore_worker_slots_busy", "Attempts that run", snapshot.running)
        yield gauge("mrcore_worker_attempts_held", "Attempts held, waiting ones too", snapshot.held)
        yield gauge("mrcore_worker_draining", "1 while it is leaving", float(snapshot.draining))
        yield gauge(
            "mrcore_worker_children_resident_bytes",
            "Memory of the processes that run user code",
            snapshot.resident_bytes,
        )
        yield gauge(
            "mrcore_worker_master_unheard_seconds",
            "Since a master answered, or since the start",
            snapshot.unanswered_seconds,
        )
