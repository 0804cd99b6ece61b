"""Account of a rehearsal: what each blow cost, and sums by kind of disaster. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from mrcore.chaos.core.strikes import Kind
from mrcore.model.snapshots import TaskView


class Held(msgspec.Struct, frozen=True):
    """An attempt that a process ran when it was hurt."""

    name: str
    """Name within its job, as in `map-00003@5.2`."""
    seconds: float
    """Time that it had run by then."""


class Blow(msgspec.Struct, frozen=True, kw_only=True):
    """A strike that was dealt."""

    run: int
    kind: Kind
    who: str
    """Process or place that was hurt."""
    done: float
    """Share of the job that was done by then."""
    worker: str = ""
    """Worker of which the kernel has killed a process, at a moment of the kernel's choice."""
    held: tuple[Held, ...] = ()
    recovery_seconds: float | None = None
    """Time until all was as before; for a master, until one answered again."""
    attempts_lost: int = 0
    """Attempts whose tasks another attempt had to do."""
    seconds_lost: float = 0.0
    """Time that the lost attempts had run by then."""


class KindSum(msgspec.Struct, frozen=True, kw_only=True):
    """All blows of one kind."""

    kind: Kind
    count: int
    attempts_lost: int
    seconds_lost: float
    mean_recovery_seconds: float | None = None
    slowest_recovery_seconds: float | None = None


def running(tasks: Iterable[TaskView], worker: str | None = None) -> tuple[Held, ...]:
    """Return the attempts that run on a worker, or on all workers."""
    return tuple(
        Held(_name(task, attempt.number), attempt.elapsed_seconds)
        for task in tasks
        for attempt in task.attempts
        if attempt.state == "running" and worker in (None, attempt.worker_id)
    )


def priced(blows: Iterable[Blow], tasks: Sequence[TaskView]) -> tuple[list[Blow], int]:
    """Return the blows of one run with what they cost, and the number of other failed attempts.

    `tasks` are those of the ended job. What a blow met is lost if another attempt is the winner.
    An attempt that several blows met is charged to the first.
    """
    ends = [(_name(task, one.number), one.state) for task in tasks for one in task.attempts]
    won = {name for name, state in ends if state == "won"}
    charged: set[str] = set()
    result = []
    for blow in blows:
        lost = [one for one in blow.held if one.name not in won and one.name not in charged]
        charged |= {one.name for one in lost}
        seconds = sum(one.seconds for one in lost)
        result.append(msgspec.structs.replace(blow, attempts_lost=len(lost), seconds_lost=seconds))
    failed = {
        _name(task, one.number): one
        for task in tasks
        for one in task.attempts
        if one.state == "failed" and _name(task, one.number) not in charged
    }
    for index, blow in enumerate(result):
        # It may have met an attempt that began after the last look.
        met = (name for name, one in failed.items() if one.worker_id == blow.worker)
        name = None if blow.attempts_lost else next(met, None)
        if name is not None:
            seconds = failed.pop(name).elapsed_seconds
            result[index] = msgspec.structs.replace(blow, attempts_lost=1, seconds_lost=seconds)
    return result, len(failed)


def sums_by_kind(blows: Iterable[Blow]) -> list[KindSum]:
    """Return the sums of blows, in the order of the kinds."""
    by_kind: dict[Kind, list[Blow]] = {}
    for blow in blows:
        by_kind.setdefault(blow.kind, []).append(blow)
    return [_sum(kind, by_kind[kind]) for kind in Kind if kind in by_kind]


def _sum(kind: Kind, blows: list[Blow]) -> KindSum:
    recoveries = [one.recovery_seconds for one in blows if one.recovery_seconds is not None]
    return KindSum(
        kind=kind,
        count=len(blows),
        attempts_lost=sum(one.attempts_lost for one in blows),
        seconds_lost=sum(one.seconds_lost for one in blows),
        mean_recovery_seconds=sum(recoveries) / len(recoveries) if recoveries else None,
        slowest_recovery_seconds=max(recoveries, default=None),
    )


def _name(task: TaskView, number: str) -> str:
    return f"{task.name}@{number}"
