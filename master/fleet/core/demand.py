"""Number of workers that the work calls for: numbers in, a number out."""

from __future__ import annotations

import math
from collections import Counter

from mrcore.master.fleet.core.model import (
    COMMITTED_SECONDS,
    HEADROOM,
    Bounds,
    FleetSnapshot,
    Memory,
    Work,
)


def slots_per_worker(snapshot: FleetSnapshot) -> int:
    """Return the slots of the usual worker: as reported, or one a core before any has joined."""
    reported = Counter(info.slots for info in snapshot.workers if info.slots > 0)
    if reported:
        most = max(reported.values())
        return max(slots for slots, count in reported.items() if count == most)
    return max((group.vcpus for group in snapshot.groups.values()), default=1) or 1


def bounds_now(snapshot: FleetSnapshot, bounds: Bounds) -> tuple[int, int]:
    """Return (least, most) workers, as asked for last."""
    most = bounds.max_workers if snapshot.max_workers is None else snapshot.max_workers
    least = bounds.min_workers if snapshot.min_workers is None else snapshot.min_workers
    return min(least, most), most


def wanted_workers(snapshot: FleetSnapshot, memory: Memory, bounds: Bounds, now: float) -> int:
    """Return how many workers there should be, within the bounds, for what is known of the work."""
    least, most = bounds_now(snapshot, bounds)
    slots = sum(slots_for(work, bounds, now) for work in snapshot.jobs)
    wanted = math.ceil(slots / slots_per_worker(snapshot))
    if not memory.worked:
        # Whoever made the group knew what would come: it is not shrunk before any job was there.
        wanted = max(wanted, memory.adopted)
    return min(max(wanted, least), most)


def slots_for(work: Work, bounds: Bounds, now: float) -> int:
    """Return the slots that a job can use, or that its deadline needs where that is less."""
    needed = slots_by_deadline(work, bounds, now)
    return work.tasks if needed is None else min(work.tasks, needed)


def slots_by_deadline(work: Work, bounds: Bounds, now: float) -> int | None:
    """Return the slots with which a job ends in time; None where that is not known.

    A deadline that is over, or too near, calls for all that the job can use.
    """
    if bounds.deadline_seconds is None or work.seconds is None:
        return None
    left = work.submitted_seconds + bounds.deadline_seconds - now
    if left <= 0:
        return None
    return max(1, math.ceil(work.seconds / (left * HEADROOM)))


def affordable_workers(snapshot: FleetSnapshot, bounds: Bounds, hour_dollars: float) -> int | None:
    """Return how many workers the spend limit carries for a while; None for any number."""
    if bounds.max_cost is None or hour_dollars <= 0:
        return None
    left = max(0.0, bounds.max_cost - snapshot.dollars)
    return int(left / (hour_dollars * COMMITTED_SECONDS / 3600))
