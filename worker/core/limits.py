"""Bounds of every queue, map and list of a worker, and the times by which it decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a worker may hold, and how patient it is; times are seconds."""

    # Children.
    tick_seconds: float = 0.1
    """Time between two looks at the limits of attempts."""
    idle_seconds: float = 10.0
    """An idle child of one job is then replaced by one that any job can have."""
    children_per_slot: int = 2
    """Children alive at once: those with orders, and as many idle ones with a job loaded."""
    dying_per_slot: int = 1
    """Children beyond these that were killed and are yet to die; then no more are started."""
    retire_share: float = 0.6
    """An idle child that uses more than this part of its slot's memory is replaced."""
    bad_starts_max: int = 3
    """Children in a row that could not be started, until attempts fail for it."""
    restart_seconds: float = 1.0
    """Pause after a child that could not be started."""
    close_seconds: float = 5.0
    """Time for killed children to die, before a worker that ends leaves them behind."""
    ahead_max: int = 32
    """Orders that wait in a child beyond the one that runs."""
    orphans_max: int = 8_192
    """Processes without a parent that are looked at; as many as a unit may have in all."""
    last_words_bytes_max: int = 64 << 20
    """Of what dead children have printed, while it is being stored."""
    last_words_bytes_min: int = 64 << 10
    """Of one child's, however much there is of others."""
    sweeps_max: int = 64
    """Folders of dead children that are being removed; more are left until the worker ends."""

    # What a worker holds.
    slots_max: int = 1024
    """Attempts that run at once."""
    held_max: int = 4_096
    """Attempts of which the master has yet to account. It sends at most 1,537, and as many may have
    ended since; what it wants beyond is not taken, and wanted again."""
    held_bytes_max: int = 128 << 20
    """Of results that the master has yet to take; beyond it no attempt begins."""
    known_jobs_max: int = 64
    """Specifications that are kept, if fewer attempts than that are held; else one for each."""

    def children_max(self, slots: int) -> int:
        """Return how many children there may be, with those that were killed and are yet to die."""
        return (self.children_per_slot + self.dying_per_slot) * slots


DEFAULT: Final = Limits()
