"""A master's metrics for Prometheus; imported only where they are asked for."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mrcore.daemon.metrics import TASK_BUCKETS, Vitals, Window, gauge, new_registry, serve
from mrcore.master.core.facts import Fact, JobEnded, TaskWon
from mrcore.master.shell.call_metrics import CallHistory
from mrcore.master.shell.health import Health, Tallies
from mrcore.master.shell.standing import Standing
from mrcore.model.job import JobState
from mrcore.model.master import MasterRole
from mrcore.model.stages import CALL, KINDS, kind_of

JOB_BUCKETS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
APPEND_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
_TASK_STATES: Final = ("idle", "in_progress", "completed")
_CALL_STATES: Final = ("waiting", "queued", "running", "ended")
_WORKER_STATES: Final = ("active", "draining", "blind")


@contextlib.contextmanager
def measured(address: str, health: Health) -> Iterator[int]:
    """Serve the metrics of a master for as long as the `with` block; yield the port."""
    registry = new_registry()
    health.shell.observe(_History(health, registry).observe)
    registry.register(_Now(health))
    registry.register(_Place(health.standing))
    with serve(address, registry, lambda: _vitals(health.standing(), health.healthy())) as port:
        yield port


@contextlib.contextmanager
def measured_standby(address: str, look: Callable[[], Standing]) -> Iterator[int]:
    """Serve the metrics of a master that stands by, for as long as the `with` block.

    Yields the port. `look` is called in threads of the HTTP server.
    """
    registry = new_registry()
    registry.register(_Place(look))
    # A store that does not answer is not a reason to end a standby.
    with serve(address, registry, lambda: _vitals(look(), healthy=True)) as port:
        yield port


def _vitals(standing: Standing, healthy: bool) -> Vitals:
    return Vitals(
        healthy,
        {
            "role": standing.role.value,
            "epoch": standing.epoch,
            "entry": standing.entry,
            "behind_entries": standing.behind_entries,
            "behind_seconds": round(standing.behind_seconds, 3),
        },
    )


class _Place(Collector):
    """Role of a master, and how far it has read the journal, at the moment of a scrape."""

    def __init__(self, look: Callable[[], Standing]) -> None:
        self._look = look

    def collect(self) -> Iterable[Metric]:
        """Yield gauges."""
        standing = self._look()
        role = GaugeMetricFamily(
            "mrcore_master_role", "1 for the role that this master has", labels=("role",)
        )
        for one in MasterRole:
            role.add_metric((one.value,), float(one is standing.role))
        yield role
        yield gauge("mrcore_master_epoch", "Counts the starts of masters", standing.epoch)
        yield gauge(
            "mrcore_master_journal_entry",
            "Number of the newest journal entry that this master has read",
            standing.entry,
        )
        yield gauge(
            "mrcore_master_behind_entries",
            "Journal entries that this master has yet to read",
            standing.behind_entries,
        )
        yield gauge(
            "mrcore_master_behind_seconds",
            "Time since this master had read all of the journal",
            standing.behind_seconds,
        )


class _History:
    """Durations, counted once the facts that end them are durable."""

    def __init__(self, health: Health, registry: CollectorRegistry) -> None:
        self._machine = health.shell.machine
        self._calls = CallHistory(health.clock.monotonic, registry)
        self._tasks = Histogram(
            "mrcore_master_task_seconds",
            "Time of the attempts that won their tasks",
            ("kind",),
            buckets=TASK_BUCKETS,
            registry=registry,
        )
        self._jobs = Histogram(
            "mrcore_master_job_seconds",
            "Time of jobs from submission to end, by outcome",
            ("state",),
            buckets=JOB_BUCKETS,
            registry=registry,
        )
        self._appends = Histogram(
            "mrcore_master_journal_append_seconds",
            "Time of writing a group of facts to the journal",
            buckets=APPEND_BUCKETS,
            registry=registry,
        )

        # Series that are there from the beginning have no first rise that a rate would miss.
        for kind in KINDS:
            self._tasks.labels(kind)
        for state in JobState:
            if state.final:
                self._jobs.labels(state.value)

    def observe(self, facts: Sequence[Fact], seconds: float) -> None:
        """Count facts, and the seconds that they took to become durable."""
        self._appends.observe(seconds)
        self._calls.observe(facts)
        for fact in facts:
            match fact:
                case TaskWon():
                    job = self._machine.cluster.job(fact.attempt.task.job_id)
                    if job is not None:  # forgotten since, when many ended at once
                        kind = kind_of(job.stages[fact.attempt.task.stage].plan.reads)
                        self._tasks.labels(kind).observe(fact.output.elapsed_seconds)
                        if kind == CALL:
                            self._calls.won(fact)
                case JobEnded():
                    job = self._machine.cluster.job(fact.job_id)
                    if job is not None:
                        took = max(0.0, fact.wall_seconds - job.submitted_seconds)
                        self._jobs.labels(fact.state.value).observe(took)
                case _:
                    pass


class _Now(Collector):
    """Gauges of the master at the moment of a scrape."""

    def __init__(self, health: Health) -> None:
        self._window = Window("mrcore_master", health.look)
        self._attempts = Totals()

    def collect(self) -> Iterable[Metric]:
        """Yield gauges and counters; called in a thread of the HTTP server."""
        sight, responsive = self._window.open()
        yield responsive
        if sight is None:
            return
        jobs = GaugeMetricFamily(
            "mrcore_master_jobs", "Jobs that are remembered, by state", labels=("state",)
        )
        for state in JobState:
            jobs.add_metric((state.value,), sight.jobs.get(state.value, 0))
        yield jobs
        tasks = GaugeMetricFamily(
            "mrcore_master_tasks",
            "Tasks of the jobs that have not ended",
            labels=("kind", "state"),
        )
        for kind in KINDS:
            for task_state in _TASK_STATES:
                value = sight.tasks.get((kind, task_state), 0)
                tasks.add_metric((kind, task_state), value)
        yield tasks
        workers = GaugeMetricFamily(
            "mrcore_master_workers",
            "Workers by state; blind ones do not see the store",
            labels=("state",),
        )
        for worker_state in _WORKER_STATES:
            workers.add_metric((worker_state,), sight.workers.get(worker_state, 0))
        yield workers
        yield gauge("mrcore_master_sessions", "Sessions that have not ended", sight.sessions)
        calls = GaugeMetricFamily(
            "mrcore_master_calls",
            "Calls that are not released, by state; waiting ones lack values of others",
            labels=("state",),
        )
        for call_state in _CALL_STATES:
            calls.add_metric((call_state,), sight.calls[call_state])
        yield calls
        yield gauge(
            "mrcore_master_call_bytes",
            "Memory of the arguments, values and failures of calls",
            sight.call_bytes,
        )
        yield gauge("mrcore_master_slots", "Attempts that may run at once", sight.slots)
        yield gauge("mrcore_master_slots_busy", "Attempts that run", sight.busy)
        stalls = CounterMetricFamily(
            "mrcore_master_stalls_total",
            "Times that tasks were queued for a minute while workers idled",
        )
        stalls.add_metric((), sight.stalls)
        yield stalls
        attempts = CounterMetricFamily(
            "mrcore_master_attempts_total",
            "Attempts started, and those that ended, by outcome",
            labels=("outcome",),
        )
        for outcome, count in sorted(self._attempts.add(sight.tallies).items()):
            attempts.add_metric((outcome,), count)
        yield attempts


class Totals:
    """Sums over all jobs ever seen, that never fall when a job is forgotten."""

    def __init__(self) -> None:
        self._seen: Tallies = {}
        self._sums: Counter[str] = Counter()

    def add(self, tallies: Tallies) -> dict[str, int]:
        """Take in the jobs as they are now, and return the sums by outcome."""
        for job_id, tally in tallies.items():
            seen = self._seen.get(job_id, {})
            for outcome, count in tally.items():
                self._sums[outcome] += max(0, count - seen.get(outcome, 0))
        self._seen = tallies
        return dict(self._sums)
