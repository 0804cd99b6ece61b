"""Strikes: which process is hurt how, at which point of a run, drawn by a seed. Pure.

A strike is due when a share of the job is done, and not after some seconds. So the same seed hurts
the same job at the same points on a fast machine and on a slow one.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mrcore.chaos.core.settings import Settings, cables, victims

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - the type only: a generator is always passed in

COMMIT_SHARE: Final = 0.15
"""Share of the strikes that wait for the commit: it is short, and would rarely be hit by chance."""
DONE: Final = 1.0
"""All tasks are done: the output is being committed."""
LAST: Final = 0.95
"""Latest point within the tasks: after it, a strike might find the job ended."""
LEADER: Final = -1
"""Target of a strike at the master that leads by then."""
STANDBY: Final = -2
"""Target of a strike at a master that stands by."""


class Kind(enum.StrEnum):
    """A disaster."""

    KILL_WORKER = "kill-worker"
    KILL_MASTER = "kill-master"
    PAUSE_WORKER = "pause-worker"
    PAUSE_MASTER = "pause-master"
    MEMORY_KILL = "memory-kill"
    FULL_DISK = "full-disk"
    PARTITION = "partition"
    """A worker is cut off from the masters."""
    PARTITION_MASTER = "partition-master"
    STORAGE = "storage-fault"
    """It strikes by itself, at any operation, and is only counted."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One disaster of one run."""

    kind: Kind
    at: float
    """Share of the job that is done by then; 1 is in the commit."""
    target: int
    """Number of the worker, from 0, or `LEADER`, or `STANDBY`."""
    seconds: float
    """Time that it lasts. A killed process is started again after it."""
    with_store: bool = False
    """Whether a master that is cut off cannot reach the store either."""


def make_schedule(settings: Settings, rng: Random) -> tuple[Strike, ...]:
    """Return the strikes of one run, in the order in which they are due."""
    return tuple(sorted(_strikes(settings, rng), key=lambda strike: strike.at))


def _strikes(settings: Settings, rng: Random) -> Iterator[Strike]:
    lease, workers = settings.lease_seconds, settings.workers
    for target in rng.sample(range(workers), victims(settings.kill_workers, workers)):
        # It comes back at once, as a process does, or after its lease, as a new machine does.
        seconds = rng.choice((0.0, rng.uniform(0.3, 1.5) * lease))
        yield Strike(Kind.KILL_WORKER, _point(rng), target, seconds)
    for _ in range(settings.kill_master):
        yield Strike(Kind.KILL_MASTER, _point(rng), LEADER, rng.uniform(0.0, 1.0))
    if settings.pause:
        # On both sides of a lease: some are missed by nobody, others come back as ghosts.
        seconds = rng.uniform(0.3, 2.0) * lease
        yield Strike(Kind.PAUSE_WORKER, _point(rng), rng.randrange(workers), seconds)
        if rng.random() < 1 / 2:
            seconds = rng.uniform(0.3, 3.0) * lease
            yield Strike(Kind.PAUSE_MASTER, _point(rng), LEADER, seconds)
    if settings.memory_kills:
        for _ in range(max(1, workers // 2)):
            yield Strike(Kind.MEMORY_KILL, _point(rng, LAST), rng.randrange(workers), 0.0)
    if settings.full_disk:
        yield Strike(Kind.FULL_DISK, _point(rng), LEADER, rng.uniform(0.5, 2.0))
    if settings.partition:
        for target in rng.sample(range(cables(workers)), max(1, workers // 4)):
            seconds = rng.uniform(0.3, 2.0) * lease
            yield Strike(Kind.PARTITION, _point(rng), target, seconds)
        seconds = rng.uniform(0.3, 3.0) * lease
        with_store = rng.random() < 1 / 2
        yield Strike(Kind.PARTITION_MASTER, _point(rng), LEADER, seconds, with_store)
        if settings.masters > 1:
            # It reads along by the store alone.
            seconds = rng.uniform(0.3, 3.0) * lease
            yield Strike(Kind.PARTITION_MASTER, _point(rng), STANDBY, seconds, True)


def _point(rng: Random, commit: float = DONE) -> float:
    return commit if rng.random() < COMMIT_SHARE else rng.uniform(0.0, LAST)
