"""The world of one simulation: time, the network, the store, and how hostile all of it is.

One seed is one run. Every draw comes from the seed's generator, and every run draws its own rates
of faults first (a swarm): a run without drops but with many crashes finds other bugs than the mean.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from mrcore.model.ids import AttemptId


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of faults; each is a probability unless its name says seconds."""

    drop: float
    duplicate: float
    delay_seconds: float
    cut: float
    """Probability that one direction between a worker and the master is cut, at each chance."""
    worker_crash: float
    worker_pause: float
    master_crash: float
    master_stall: float
    flush_seconds: float
    look_seconds: float
    """Time of the committer for anything it does in the store."""
    user_failure: float
    data_failure: float
    infrastructure_failure: float
    read_failure: float
    """Probability that a read fails whose object is there."""
    vanish: float
    """Probability that a run of the same job vanishes, at each part that is written."""
    preempt: float
    straggler: float
    varied_maps: bool
    """A task that reads input may give other content when it runs again."""
    cancel: float
    drain: float
    lost_part: float
    lease_seconds: float

    @classmethod
    def draw(cls, rng: Random) -> Rates:
        """Draw the rates of one seed; each kind of fault is absent from many seeds."""
        return cls(
            drop=rng.choice((0.0, 0.0, 0.05, 0.3)),
            duplicate=rng.choice((0.0, 0.1, 0.4)),
            delay_seconds=rng.choice((0.005, 0.05, 0.5, 3.0)),
            cut=rng.choice((0.0, 0.0, 0.1)),
            worker_crash=rng.choice((0.0, 0.05, 0.2)),
            worker_pause=rng.choice((0.0, 0.05, 0.2)),
            master_crash=rng.choice((0.0, 0.0, 0.1, 0.2)),
            master_stall=rng.choice((0.0, 0.0, 0.1)),
            flush_seconds=rng.choice((0.001, 0.05, 0.5)),
            look_seconds=rng.choice((0.2, 1.0, 8.0)),
            user_failure=rng.choice((0.0, 0.0, 0.05, 0.2)),
            data_failure=rng.choice((0.0, 0.0, 0.0, 0.03)),
            infrastructure_failure=rng.choice((0.0, 0.0, 0.1, 0.3)),
            read_failure=rng.choice((0.0, 0.1, 0.3)),
            vanish=rng.choice((0.0, 0.1, 0.3, 0.5)),
            preempt=rng.choice((0.0, 0.0, 0.3)),
            straggler=rng.choice((0.0, 0.0, 0.1)),
            varied_maps=rng.random() < 0.7,
            cancel=rng.choice((0.0, 0.0, 0.0, 0.02)),
            drain=rng.choice((0.0, 0.0, 0.05)),
            lost_part=rng.choice((0.0, 0.0, 0.3)),
            lease_seconds=rng.choice((3.0, 10.0)),
        )


@dataclass(slots=True)
class Store:
    """Objects of the bucket: content by the attempt that wrote it, under a name of its own."""

    runs: dict[AttemptId, bytes] = field(default_factory=dict)
    """Digest of each run that is there."""
    parts: dict[AttemptId, tuple[bytes, ...]] = field(default_factory=dict)
    """Digests of all runs that a staged part was made of, for each part that is there."""
    made_of: dict[AttemptId, tuple[bytes, ...]] = field(default_factory=dict)
    """Digests of the runs that an attempt's output was made of, whether it is there or gone."""
    values: dict[str, AttemptId] = field(default_factory=dict)
    """Attempts that made the large values of calls that are there, by address."""
    written: dict[AttemptId, None] = field(default_factory=dict)
    """Every name ever written: create-only, so no attempt may run twice."""


class World:
    """Time, and what is to happen when."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.rates = Rates.draw(self.rng)
        self.now = 0.0
        self.calm = False
        """The chaos is over: nothing fails by chance any more."""
        self.store = Store()
        self.log: list[str] = []
        self.cuts: dict[tuple[str, str], float] = {}
        """(from, to): until when nothing passes."""
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def note(self, line: str) -> None:
        """Log something that happened."""
        self.log.append(f"{self.now:.4f} {line}")

    def chance(self, probability: float) -> bool:
        """Draw whether a fault strikes; never once it is calm."""
        return not self.calm and self.rng.random() < probability

    def at(self, delay: float, action: Callable[[], None]) -> None:
        """Do something later."""
        self._count += 1
        heapq.heappush(self._queue, (self.now + delay, self._count, action))

    def next(self) -> bool:
        """Jump to the next thing and do it; False where there is none."""
        if not self._queue:
            return False
        self.now, _, action = heapq.heappop(self._queue)
        action()
        return True

    def send(self, source: str, target: str, deliver: Callable[[], None]) -> None:
        """Pass a message on: late, twice, out of order, or never."""
        if self.cuts.get((source, target), 0.0) > self.now or self.chance(self.rates.drop):
            return
        for _ in range(2 if self.chance(self.rates.duplicate) else 1):
            mean = 0.01 if self.calm else self.rates.delay_seconds
            self.at(self.rng.expovariate(1.0 / mean), deliver)

    def cut(self, source: str, target: str) -> None:
        """Let nothing pass in one direction for a while."""
        seconds = self.rng.choice((2.0, 8.0, 30.0))
        self.cuts[source, target] = self.now + seconds
        self.note(f"cut {source} -> {target} for {seconds} s")

    def heal(self) -> None:
        """End the chaos."""
        self.calm = True
        self.cuts.clear()
        self.note("calm")
