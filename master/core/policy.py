"""Preferences of the scheduler as pure functions: numbers in, a decision out."""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mrcore.master.core import blame
from mrcore.master.core.events import WorkerAbout
from mrcore.master.core.limits import Limits
from mrcore.master.core.records import JobRecord, TaskRecord
from mrcore.model.job import JobSpec, Versions
from mrcore.model.skipping import bad_records_problem
from mrcore.model.stages import StagePlan, task_name
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput, shown_position
from mrcore.plugin.context import counters_problem

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - the type only: a generator is always passed in

DURATIONS_KEPT = 255
SAME_DATA_MAX = 2
"""A file that is truncated does not get better: the same words twice are enough."""


class Durations:
    """The newest durations of a stage's tasks, kept sorted, for their median."""

    __slots__ = ("_newest", "_sorted")

    def __init__(self) -> None:
        self._newest: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        """Take in one completed task."""
        if len(self._newest) == DURATIONS_KEPT:
            oldest = self._newest.popleft()
            del self._sorted[bisect.bisect_left(self._sorted, oldest)]
        self._newest.append(seconds)
        bisect.insort(self._sorted, seconds)

    def median(self) -> float | None:
        """Return the (upper) median, or None before any task has completed."""
        return self._sorted[len(self._sorted) // 2] if self._sorted else None

    def __len__(self) -> int:
        return len(self._newest)


def choose_job(jobs: Iterable[tuple[int, int, int]]) -> int | None:
    """Return the position of the job to serve next, or None where there is none.

    Each job is (priority, turn, serial): the highest priority, then the one that was served
    longest ago (round robin), then the oldest.
    """
    best: tuple[int, int, int] | None = None
    chosen = None
    for position, (priority, turn, serial) in enumerate(jobs):
        rank = (-priority, turn, serial)
        if best is None or rank < best:
            best, chosen = rank, position
    return chosen


def may_prefetch(median: float | None, limits: Limits) -> bool:
    """Return whether tasks with this median of durations may be sent ahead: they are short."""
    return median is not None and median < limits.prefetch_slow_seconds


def prefetch(median: float | None, idle: int, slots: int, all_slots: int, limits: Limits) -> int:
    """Return how many attempts a worker may hold beyond its slots.

    Tasks of milliseconds would leave a slot idle for every round trip; slow ones gain nothing and
    are better kept for whoever is free first. Never more than the worker's share of what is idle,
    so that the last tasks of a stage spread over all slots.
    """
    if median is None or not may_prefetch(median, limits):
        return 0
    bridge = math.ceil(limits.prefetch_seconds / max(median, 1e-4))
    per_slot = min(bridge, limits.prefetch_per_slot_max)
    share = idle * slots // max(all_slots, 1)
    return min(per_slot * slots, share, limits.prefetch_per_worker_max)


def retry_delay(retries: int, rng: Random, limits: Limits) -> float:
    """Return seconds to wait before retry number `retries` (from 1); the first is at once."""
    if retries <= 1:
        return 0.0
    full = min(limits.retry_base_seconds * 2.0 ** min(retries - 1, 32), limits.retry_cap_seconds)
    return full * (0.5 + 0.5 * rng.random())


def should_back_up(
    elapsed_seconds: float, median: float | None, waiting: int, attempts: int, limits: Limits
) -> bool:
    """Return whether a running task deserves a second attempt elsewhere.

    Only near a stage's end (`waiting` tasks of it: none), only once a task, and only when it takes
    much longer than others did: with no completed task there is nothing to compare with.
    """
    if waiting or attempts != 1 or median is None:
        return False
    patience = max(limits.backup_floor_seconds, limits.backup_factor * median)
    return elapsed_seconds >= patience


def verdict(task: TaskRecord, spec: JobSpec, limits: Limits) -> str | None:
    """Return why a task has to end its job, as the end of a sentence; None while it may retry."""
    failure = task.last_failure
    if failure is not None:
        if task.same_error:
            where = "same error" if failure.mark is None else "same error at the same record"
            return f"failed twice with the {where}, so it was not tried again: {failure.message}"
        if task.failures and task.failures >= spec.max_attempts:
            return f"failed {_times(task.failures)}: {failure.message}"
        if failure.kind is FailureKind.DATA and task.same_data >= SAME_DATA_MAX:
            return f"failed twice in the same way: {failure.message}"
        if task.infrastructure >= limits.infrastructure_max:
            times = _times(task.infrastructure)
            return f"failed {times} by storage or machines, not by its code: {failure.message}"
    if task.losses >= limits.losses_max:
        times = _times(task.losses)
        return f"lost its output {times}: check the storage of the job's temporaries (--temp)"
    return None


def call_verdict(
    task: TaskRecord, failure: TaskFailure, spec: JobSpec, limits: Limits
) -> str | None:
    """Return why a call fails for good once this attempt has failed; None while it may retry.

    What its function raises counts against its retries, and is passed on as it is. All else has the
    budgets of any other task.
    """
    message = failure.message
    if blame.gives_up(task, spec, failure):
        return None  # an item fails, and the others of the call go on
    if failure.kind is FailureKind.USER and not failure.died:
        if failure.mark is not None:
            return None
        retries = 0 if spec.session is None else spec.session.retries
        return message if task.raised >= retries else None
    if failure.kind is FailureKind.INFRASTRUCTURE:
        times = task.infrastructure + 1
        if times < limits.infrastructure_max:
            return None
        return f"The call failed {_times(times)} by storage or machines: {message}"
    last = task.last_failure
    if failure.kind is FailureKind.DATA and last is not None and last.message == message:
        return f"The call failed twice in the same way: {message}"
    times = task.failures + 1
    if times < spec.max_attempts:
        return None
    return message if times == 1 else f"The call failed {_times(times)}: {message}"


def overrun(record: JobRecord, limits: Limits) -> str | None:
    """Return why a job has to end for the sum of what its tasks report; None if it may go on.

    What is counted travels with every answer about the job and stays in memory with each task.
    """
    problem = bad_records_problem(
        record.bad_records, record.spec.max_bad_records, record.records_read
    )
    if problem is not None:
        return f"{problem} {_last_bad_record(record)}"
    if record.block_bytes > limits.block_bytes_max:
        return (
            f"To cut the job's total order takes {record.block_bytes:,} bytes of the master, and "
            f"{limits.block_bytes_max:,} is the limit. Sort less data in one job, use shorter "
            "keys, or leave out the total order."
        )
    if record.result_bytes > limits.result_bytes_max:
        return (
            f"The results of the job's tasks have {record.result_bytes:,} bytes in all, and "
            f"{limits.result_bytes_max:,} is the limit. Return less from each task, or write an "
            "output."
        )
    names, counts = len(record.counters), record.counts
    return counters_problem(names, counts, limits.counters_max, limits.counts_max)


def _last_bad_record(record: JobRecord) -> str:
    causes = [
        task.output.last_cause
        for stage in record.stages
        for task in stage.tasks
        if task.output is not None and task.output.skipped
    ]
    return f"The last one: {causes[-1]}." if causes else ""


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def mixed_kinds(outputs: Iterable[tuple[str, int, TaskOutput]]) -> str | None:
    """Return a sentence where tasks with the same readers disagree about int and float keys.

    Each output comes with the name of its stage and the number of its task.
    """
    seen: dict[str, tuple[str, str]] = {}
    for stage, index, output in outputs:
        for position, kind in output.number_kinds.items():
            first, where = seen.setdefault(position, (kind, task_name(stage, index)))
            if first != kind:
                place = shown_position(position)
                return (
                    f"{where} emitted {first} and {task_name(stage, index)} {kind} as {place}: "
                    "emit one number type, since 1 and 1.0 may or may not count as the same key"
                )
    return None


def task_count(stages: Sequence[StagePlan]) -> int:
    """Return the number of tasks of a job."""
    return sum(stage.tasks for stage in stages)


def section_count(stages: Sequence[StagePlan]) -> int:
    """Return the number of sections in all runs of a job: the master keeps each one's length."""
    return sum(stage.tasks * stages[read].tasks for stage in stages for read in stage.inputs)


def mismatch(wanted: Versions, about: WorkerAbout) -> str | None:
    """Return what differs between a job's client and a worker, or None where they agree.

    Pickled functions travel within one minor version of Python, tasks within one version of
    mrcore. What one side has not reported is not compared.
    """
    python = ".".join(about.python.split(".")[:2])
    if wanted.python and python and wanted.python != python:
        return f"Python {python} instead of {wanted.python}"
    if wanted.mrcore and about.mrcore and wanted.mrcore != about.mrcore:
        return f"mrcore {about.mrcore} instead of {wanted.mrcore}"
    return None
