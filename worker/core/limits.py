"""Bounds of every queue, map and list of a worker, and the times by which it decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what a worker holds, and its time limits in seconds."""

    # Children.
    tick_seconds: float = 0.1
    """Time between two checks of the limits of running attempts."""
    idle_seconds: float = 10.0
    """Time after which an idle child with a job loaded is replaced by one that fits any job."""
    idle_calls_seconds: float = 60.0
    """The same for a child that runs calls: what their functions have loaded may be dear."""
    children_per_slot: int = 2
    """Children alive at once: those with orders, and as many idle ones with a job loaded."""
    dying_per_slot: int = 1
    """Killed children beyond these that are yet to die. At this limit no more are started."""
    retire_share: float = 0.6
    """Share of a slot's memory beyond which an idle child is replaced."""
    bad_starts_max: int = 3
    """Children in a row that could not be started, before attempts fail for it."""
    fork_seconds: float = 10.0
    """Time for the fork server to answer, before it is ended and started again."""
    restart_seconds: float = 1.0
    """Pause after a child that could not be started."""
    close_seconds: float = 5.0
    """Time for killed children to die, before a worker that ends leaves them behind."""
    ahead_max: int = 32
    """Orders that wait in a child beyond the one that runs."""
    much_ahead: int = 10
    """Orders in a child from which on its reports are read together."""
    reports_seconds: float = 0.004
    """Time between two looks at the reports of such a child: less than its orders take."""
    reports_bytes_max: int = 64 << 10
    """Bytes of reports from which on they are read at once: a child waits where too many wait."""
    orphans_max: int = 8_192
    """Orphaned processes that one look considers: as many as a systemd unit may have tasks."""
    log_tails_bytes_max: int = 64 << 20
    """Bytes of the logs of dead children, while they are being stored."""
    log_tail_bytes_min: int = 64 << 10
    """Bytes of one child's log that are kept in any case."""
    sweeps_max: int = 64
    """Folders of dead children that are being removed. More stay until the worker ends."""

    # What a worker holds.
    slots_max: int = 1024
    """Attempts that run at once."""
    held_max: int = 4_096
    """Attempts that the master has not accounted for. It sends at most 1,537, and as many may have
    ended since. What it wants beyond the limit is not taken, and wanted again."""
    held_bytes_max: int = 128 << 20
    """Bytes of results that the master has not taken. At this limit no attempt begins."""
    known_jobs_max: int = 64
    """Specifications that are kept, if fewer attempts than that are held; else one for each."""

    def children_max(self, slots: int) -> int:
        """Return the limit on children, with those that were killed and are yet to die."""
        return (self.children_per_slot + self.dying_per_slot) * slots


DEFAULT: Final = Limits()
