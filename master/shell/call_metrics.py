"""Metrics of calls: counters and times, fed by facts once these are durable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from mrcore.master.core.facts import CallFailed, CallsAdded, CallsCancelled, Fact, JobEnded, TaskWon

CALL_BUCKETS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0)
"""Histogram bounds for calls, in seconds: many take milliseconds."""
_SUCCEEDED: Final = "succeeded"
_FAILED: Final = "failed"
_CANCELLED: Final = "cancelled"


class CallHistory:
    """Counters of calls that were added or have ended, and the times between.

    Times of calls that a former master added are not known, and are left out.
    """

    def __init__(self, monotonic: Callable[[], float], registry: CollectorRegistry) -> None:
        self._monotonic = monotonic
        self._added_at: dict[str, dict[int, float]] = {}
        """Time at which each call was added that has not ended, by session and number."""
        self._added = Counter(
            "mrcore_master_calls_added_total",
            "Calls that clients have added to sessions",
            registry=registry,
        )
        self._ended = Counter(
            "mrcore_master_calls_ended_total",
            "Calls that have ended, by outcome",
            ("outcome",),
            registry=registry,
        )
        self._start = Histogram(
            "mrcore_master_call_start_seconds",
            "Time from adding a call to the start of the attempt that gave its value",
            buckets=CALL_BUCKETS,
            registry=registry,
        )
        self._end = Histogram(
            "mrcore_master_call_seconds",
            "Time from adding a call to its end, by outcome",
            ("outcome",),
            buckets=CALL_BUCKETS,
            registry=registry,
        )
        for outcome in (_SUCCEEDED, _FAILED, _CANCELLED):
            self._ended.labels(outcome)
            self._end.labels(outcome)

    def observe(self, facts: Sequence[Fact]) -> None:
        """Count the facts about calls."""
        now = self._monotonic()
        for fact in facts:
            match fact:
                case CallsAdded():
                    self._added.inc(len(fact.calls))
                    numbers = range(fact.first, fact.first + len(fact.calls))
                    self._added_at.setdefault(fact.job_id, {}).update(dict.fromkeys(numbers, now))
                case CallFailed():
                    self._count(fact.task.job_id, fact.task.index, _FAILED, now)
                case CallsCancelled():
                    for index in fact.indexes:
                        self._count(fact.job_id, index, _CANCELLED, now)
                case JobEnded():
                    for index in list(self._added_at.get(fact.job_id, ())):
                        self._count(fact.job_id, index, _CANCELLED, now)
                    self._added_at.pop(fact.job_id, None)
                case _:
                    pass

    def won(self, fact: TaskWon) -> None:
        """Count a call that has a value."""
        task, now = fact.attempt.task, self._monotonic()
        took = self._count(task.job_id, task.index, _SUCCEEDED, now)
        if took is not None:
            self._start.observe(max(0.0, took - fact.output.elapsed_seconds))

    def _count(self, session_id: str, index: int, outcome: str, now: float) -> float | None:
        """Count an end; return the seconds since the call was added, where that is known."""
        self._ended.labels(outcome).inc()
        added_at = self._added_at.get(session_id, {}).pop(index, None)
        if added_at is None:
            return None
        took = now - added_at
        self._end.labels(outcome).observe(took)
        return took
