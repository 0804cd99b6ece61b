"""Rates of faults of a simulation of several masters."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of faults; many seeds lack one kind."""

    masters: int
    lost: float
    """Probability that the reply to a write is lost."""
    failed: float
    cut: float
    """Probability per second that a master cannot reach the store for a while."""
    mute: float
    """The same for masters that cannot reach each other."""
    crash: float
    stall: float
    """Probability of a stall at each operation."""
    late: float
    """Probability of a stall just before a standby creates its entry."""
    jump: float
    retire: float
    latency_seconds: float
    append_seconds: float
    snapshot_entries: int

    @classmethod
    def draw(cls, rng: Random) -> Rates:
        """Draw the rates of one seed."""
        return cls(
            masters=rng.choice((2, 3, 3)),
            lost=rng.choice((0.0, 0.1, 0.3)),
            failed=rng.choice((0.0, 0.1)),
            cut=rng.choice((0.0, 0.02, 0.05)),
            mute=rng.choice((0.0, 0.02)),
            crash=rng.choice((0.0, 0.01, 0.03)),
            stall=rng.choice((0.0, 0.005, 0.02)),
            late=rng.choice((0.0, 0.0, 0.5)),
            jump=rng.choice((0.0, 0.02)),
            retire=rng.choice((0.0, 0.02)),
            latency_seconds=rng.choice((0.0, 0.05, 0.4)),
            append_seconds=rng.choice((0.3, 2.0)),
            snapshot_entries=rng.choice((3, 8)),
        )
