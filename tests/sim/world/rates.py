"""The size of one world, and how hostile it is: both are drawn by the seed.

Every kind of fault is absent from many seeds. A run without drops but with many crashes finds other
bugs than the mean. Most worlds are small: many of these find more than a few large ones.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final


class Size(enum.Enum):
    """Size of a world."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


_SIZES = {Size.SMALL: 0.988, Size.MEDIUM: 0.01, Size.LARGE: 0.002}


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers of what there is."""

    size: Size
    chaos_seconds: float
    jobs: int
    workers: int
    masters: int
    clients: int
    """Clients that call functions."""
    is_strict: bool
    """All invariants are checked after every step, and not once in a while: in few small worlds."""
    shapes: tuple[str, ...] = ()
    """Shapes of jobs to choose from; empty for those that fit the size."""
    maps: tuple[int, ...] = ()
    """Numbers of first tasks to choose from; empty for those that fit the size."""
    task_seconds: tuple[float, ...] = ()
    """Times of a task to choose from; empty for those that fit the size."""
    is_shared: bool = False
    """All jobs write to one output."""

    @property
    def is_small(self) -> bool:
        """Return whether this is a small world, in which nothing takes long."""
        return self.size is Size.SMALL

    def draw_seconds(self, rng: Random, *seconds: float) -> float:
        """Draw one of some times, in rising order; in a small world the last of them is too long.

        Most of the time of a run would pass in waiting for its end.
        """
        return rng.choice(seconds[:-1] if self.is_small else seconds)

    @classmethod
    def draw(cls, rng: Random) -> Scale:
        """Draw the numbers of one seed."""
        size = rng.choices(list(_SIZES), list(_SIZES.values()))[0]
        has_clients = rng.random() < 0.2
        clients = rng.choice((1, 2, 3)) if has_clients else 0
        strict = rng.random() < 0.01 and size is Size.SMALL
        if size is Size.SMALL:
            masters = rng.choices((1, 2, 3), (0.8, 0.13, 0.07))[0]
            jobs = 0 if clients and rng.random() < 0.5 else rng.choice((1, 1, 1, 1, 2))
            seconds = rng.choice((4.0, 8.0, 12.0))
            return cls(size, seconds, jobs, rng.choice((2, 2, 3)), masters, min(clients, 1), strict)
        if size is Size.MEDIUM:
            masters = rng.choices((1, 2, 3), (0.6, 0.2, 0.2))[0]
            seconds, jobs = rng.choice((20.0, 40.0)), rng.choice((1, 1, 2))
            return cls(size, seconds, jobs, rng.choice((2, 3)), masters, clients, strict)
        seconds, jobs = rng.choice((60.0, 120.0)), rng.choice((1, 2, 3))
        return cls(
            size, seconds, jobs, rng.choice((2, 3, 4)), rng.choice((1, 2, 3)), clients, strict
        )


@dataclass(frozen=True, slots=True)
class StoreRates:
    """Faults between a master and the store, and pauses of it."""

    latency_seconds: float
    failed: float
    """Probability that an operation fails, and nothing has happened."""
    lost: float
    """Probability that a write happens, and its reply is lost."""
    slow: float
    """Probability that an operation takes long, other than the create of an epoch."""
    late: float
    """The same for the create of an epoch."""
    cut: float
    """Probability per second that a master cannot reach the store for a while."""
    damage: float
    """Probability that the newest snapshot or pack is damaged, at each one that is written."""
    snapshot_entries: int
    """Entries after which a leader writes a snapshot."""
    pack_step: int
    """Entries by which a pack grows."""
    pack_entries: int
    """Entries of a full pack."""

    @property
    def is_reliable(self) -> bool:
        """Return whether each operation takes place, and its caller hears of it."""
        return not (self.failed or self.lost or self.cut)

    @classmethod
    def draw(cls, rng: Random) -> StoreRates:
        """Draw the rates of one seed."""
        return cls(
            latency_seconds=rng.choice((0.0, 0.0, 0.02, 0.3)),
            failed=rng.choice((0.0, 0.0, 0.1)),
            lost=rng.choice((0.0, 0.0, 0.1, 0.3)),
            slow=rng.choice((0.0, 0.0, 0.01)),
            late=rng.choice((0.0, 0.0, 0.5)),
            cut=rng.choice((0.0, 0.0, 0.05)),
            damage=rng.choice((0.0, 0.0, 0.3)),
            snapshot_entries=rng.choice((3, 12, 12, 30)),
            pack_step=rng.choice((1, 4, 4, 8)),
            pack_entries=rng.choice((2, 5, 100)),
        )


THEMES: Final[tuple[dict[str, Any], ...]] = (
    {},
    {},
    # Accepted outputs are lost, and made again with other content.
    {
        "vanish": 0.5,
        "read_failure": 0.1,
        "lost_part": 0.3,
        "varied_maps": True,
        "worker_crash": 0.0,
        "master_crash": 0.0,
        "user_failure": 0.0,
        "drop": 0.0,
        "delay_seconds": 0.05,
        "look_seconds": 0.2,
    },
    # The user's code fails.
    {"user_failure": 0.4, "data_failure": 0.05, "drop": 0.0, "delay_seconds": 0.05},
    # Masters come and go amid tasks that take long.
    {
        "master_crash": 0.3,
        "straggler": 0.3,
        "delay_seconds": 0.05,
        "flush_seconds": 0.05,
        "lease_seconds": 3.0,
    },
    # Jobs end early, and others go on with them.
    {"cancel": 0.3, "resume": 0.9, "vanish": 0.3, "delay_seconds": 0.05, "look_seconds": 0.2},
    # Masters race for the lead, and the store answers some of them late.
    {
        "master_retire": 0.4,
        "delay_seconds": 0.05,
        "flush_seconds": 0.05,
        "store": {"late": 0.5, "snapshot_entries": 3, "latency_seconds": 0.02},
    },
    # Workers drain, leave, and come back.
    {"drain": 0.4, "preempt": 0.5, "straggler": 0.3, "duplicate": 0.4, "delay_seconds": 0.5},
)
"""Rates that go together: some faults need each other, and rarely meet by chance."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of faults; each is a probability unless its name says seconds."""

    store: StoreRates
    drop: float
    duplicate: float
    delay_seconds: float
    cut: float
    """Probability that one direction between a worker and a master is cut, at each chance."""
    mute: float
    """Probability that no master reaches another for a while, at each chance."""
    worker_crash: float
    worker_pause: float
    master_crash: float
    master_stall: float
    master_jump: float
    """Probability that the clock of a master jumps, at each chance."""
    master_retire: float
    """Probability that a leader is stopped in an orderly way, at each chance."""
    flush_seconds: float
    look_seconds: float
    """Time of a look at the store beside the time of its operations."""
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
    resume: float
    """Probability that a job is gone on with that has ended early, at each chance."""
    lease_seconds: float

    @classmethod
    def draw(cls, rng: Random) -> Rates:
        """Draw the rates of one seed, of which some follow a theme."""
        rates = cls(
            store=StoreRates.draw(rng),
            drop=rng.choice((0.0, 0.0, 0.05, 0.3)),
            duplicate=rng.choice((0.0, 0.1, 0.4)),
            delay_seconds=rng.choice((0.005, 0.05, 0.05, 0.5, 0.5, 3.0)),
            cut=rng.choice((0.0, 0.0, 0.1)),
            mute=rng.choice((0.0, 0.02)),
            worker_crash=rng.choice((0.0, 0.05, 0.2)),
            worker_pause=rng.choice((0.0, 0.05, 0.2)),
            master_crash=rng.choice((0.0, 0.0, 0.1, 0.2)),
            master_stall=rng.choice((0.0, 0.0, 0.1)),
            master_jump=rng.choice((0.0, 0.0, 0.05)),
            master_retire=rng.choice((0.0, 0.0, 0.05)),
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
            resume=rng.choice((0.0, 0.0, 0.5)),
            lease_seconds=rng.choice((3.0, 10.0)),
        )
        theme = rng.choice(THEMES)
        store = replace(rates.store, **theme.get("store", {}))
        return replace(rates, **{**theme, "store": store})
