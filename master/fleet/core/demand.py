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
    # A worker of another make may report none, and few may be larger than the rest.
    # (test: test_the_slots_of_the_usual_worker_count)
    reported = Counter(info.slots for info in snapshot.workers if info.slots > 0)
    if reported:
        most = max(reported.values())
        return max(slots for slots, count in reported.items() if count == most)
    return max((group.vcpus for group in snapshot.groups.values()), default=1)


def bounds_now(snapshot: FleetSnapshot, bounds: Bounds) -> tuple[int, int]:
    """Return (least, most) workers, as asked for last."""
    most = bounds.max_workers if snapshot.max_workers is None else snapshot.max_workers
    least = bounds.min_workers if snapshot.min_workers is None else snapshot.min_workers
    return least, most


def wanted_workers(snapshot: FleetSnapshot, memory: Memory, bounds: Bounds, now: float) -> int:
    """Return how many workers there should be, within the bounds, for what is known of the work."""
    least, most = bounds_now(snapshot, bounds)
    slots = sum(slots_for(work, bounds, now) for work in snapshot.jobs)
    wanted = math.ceil(slots / slots_per_worker(snapshot))
    if not memory.worked:
        # (test: test_the_size_that_was_found_is_kept_until_a_job_comes)
        # Whoever made the group knew what would come: it is not shrunk before any job was there.
        wanted = max(wanted, memory.adopted)
    # People may lower the most below the least, while the cluster works.
    # (test: test_a_maximum_below_the_minimum_holds)
    return min(max(wanted, least), most)


def slots_for(work: Work, bounds: Bounds, now: float) -> int:
    """Return the slots that a job can use, or that its deadline needs where that is less."""
    # A single task cannot be cut. (test: test_a_deadline_is_planned_with_what_is_known)
    needed = slots_by_deadline(work, bounds, now)
    return work.tasks if needed is None else min(work.tasks, needed)


def slots_by_deadline(work: Work, bounds: Bounds, now: float) -> int | None:
    """Return the slots with which a job ends in time; None where that is not known.

    A deadline that is over, or too near, calls for all that the job can use.
    """
    # No task may have ended yet. (test: test_a_deadline_is_planned_with_what_is_known)
    if bounds.deadline_seconds is None or work.seconds is None:
        return None
    left = work.submitted_seconds + bounds.deadline_seconds - now
    # (test: test_a_deadline_that_cannot_be_met_is_told)
    if left <= 0:
        return None
    # Tasks that are nearly done still need a slot.
    # (test: test_a_deadline_is_planned_with_what_is_known)
    return max(1, math.ceil(work.seconds / (left * HEADROOM)))


def affordable_workers(snapshot: FleetSnapshot, bounds: Bounds, hour_dollars: float) -> int | None:
    """Return how many workers the spend limit carries for a while; None for any number."""
    # The machine type may be newer than the table of prices.
    # (test: test_machines_of_unknown_price_are_made_below_the_spend_limit)
    if bounds.max_cost is None or hour_dollars <= 0:
        return None
    left = bounds.max_cost - snapshot.dollars
    return int(left / (hour_dollars * COMMITTED_SECONDS / 3600))
