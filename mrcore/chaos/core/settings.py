"""Settings of a rehearsal: which disasters strike, and how many of each in every run of the job."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

DEFAULT_LEASE_SECONDS: Final = 4.0
"""Lease of the job, unless given: disasters last as long, and a rehearsal has minutes."""
STORAGE_SHARE: Final = 0.01
WORKERS_SHARE: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Disasters of each run of the job. Shares are from 0 to 1."""

    workers: int
    masters: int = 1
    kill_workers: float = 0.0
    """Share of the workers that are killed."""
    kill_master: int = 0
    """Times that the master that leads is killed."""
    pause: bool = False
    """Whether processes are stopped for a while, and go on."""
    storage_faults: float = 0.0
    """Share of the operations of the store that fail; as many are slow."""
    full_disk: bool = False
    memory_kills: bool = False
    """Whether processes that run user code are killed."""
    partition: bool = False
    """Whether workers and masters are cut off from each other."""
    lease_seconds: float = DEFAULT_LEASE_SECONDS

    @property
    def is_quiet(self) -> bool:
        """Return whether no disaster is asked for."""
        counts = (self.kill_workers, self.kill_master, self.storage_faults)
        flags = (self.pause, self.full_disk, self.memory_kills, self.partition)
        return not any(counts) and not any(flags)


def with_default_mix(settings: Settings) -> Settings:
    """Return settings with the disasters of those who ask for none in particular."""
    return Settings(
        workers=settings.workers,
        masters=settings.masters,
        lease_seconds=settings.lease_seconds,
        kill_workers=WORKERS_SHARE,
        kill_master=1,
        pause=True,
        storage_faults=STORAGE_SHARE,
        memory_kills=True,
    )


def parse_share(text: str) -> float:
    """Return `30%` or `0.3` as 0.3; raise ValueError for what is not a share from 0 to 100 %."""
    stripped = text.strip()
    number = stripped.removesuffix("%").strip()
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if stripped.endswith("%"):
        value /= 100
    elif value > 1:
        raise ValueError(f"{text!r} is more than all of them; write a share as 30% or 0.3")
    if not 0 <= value <= 1:
        raise ValueError(f"{text!r} is not a share; write one from 0% to 100%, such as 30% or 0.3")
    return value


def cables(workers: int) -> int:
    """Return how many workers have a network of their own: the first ones, half of them."""
    return (workers + 1) // 2


def victims(share: float, workers: int) -> int:
    """Return how many of the workers a share is: at least one, unless it is zero."""
    return min(workers, max(1, round(share * workers))) if share > 0 else 0
