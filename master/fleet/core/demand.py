"""Number of workers that the work calls for: numbers in, a number out."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

from mrcore.master.fleet.core.model import (
    COMMITTED_SECONDS,
    HEADROOM,
    Bounds,
    FleetSnapshot,
    Memory,
    Work,
)
from mrcore.model.job import Resources
from mrcore.model.resources import thousandths


@dataclass(frozen=True, slots=True)
class Shape:
    """The usual worker of the groups."""

    slots: int
    offers: Resources
    """CPUs, memory and labels; no memory where that is not known."""


def usual_worker(snapshot: FleetSnapshot) -> Shape:
    """Return the usual worker: as reported, or as its machine type is before any has joined."""
    members = {member.name for group in snapshot.groups.values() for member in group.members}
    own = [info for info in snapshot.workers if info.machine in members]
    # A worker of another make may report none, and few may be larger than the rest.
    # (test: test_the_slots_of_the_usual_worker_count)
    reported = Counter(info.slots for info in own or snapshot.workers if info.slots > 0)
    if reported:
        most = max(reported.values())
        slots = max(slots for slots, count in reported.items() if count == most)
    else:
        slots = max((group.vcpus for group in snapshot.groups.values()), default=1)
    # What a worker elsewhere offers says nothing of machines that are made.
    # (test: test_the_offers_of_a_worker_elsewhere_do_not_count)
    offers = [info.offers for info in own if info.slots == slots]
    if offers:
        return Shape(slots, max(offers, key=lambda each: (each.cpus, each.memory_bytes)))
    vcpus = max((group.vcpus for group in snapshot.groups.values()), default=1)
    memory = max((group.memory_bytes for group in snapshot.groups.values()), default=0)
    return Shape(slots, Resources(cpus=float(vcpus), memory_bytes=memory))


def tasks_per_worker(needs: Resources, shape: Shape) -> int:
    """Return how many tasks with these needs a worker runs at once; 0 where it never runs one."""
    counts = [shape.slots]
    # Nobody else can have a label. (test: test_no_machine_is_made_for_a_label_that_it_will_lack)
    if not set(needs.labels) <= set(shape.offers.labels):
        return 0
    # (test: test_machines_are_counted_by_the_cpus_and_the_memory_of_tasks)
    if needs.cpus > 0:
        counts.append(thousandths(shape.offers.cpus) // thousandths(needs.cpus))
    # The machine type may be newer than the table of prices, which knows its memory.
    # (test: test_memory_that_is_not_known_is_taken_to_be_enough)
    if needs.memory_bytes > 0 and shape.offers.memory_bytes > 0:
        counts.append(shape.offers.memory_bytes // needs.memory_bytes)
    return min(counts)


def bounds_now(snapshot: FleetSnapshot, bounds: Bounds) -> tuple[int, int]:
    """Return (least, most) workers, as asked for last."""
    most = bounds.max_workers if snapshot.max_workers is None else snapshot.max_workers
    least = bounds.min_workers if snapshot.min_workers is None else snapshot.min_workers
    return least, most


def wanted_workers(snapshot: FleetSnapshot, memory: Memory, bounds: Bounds, now: float) -> int:
    """Return how many workers there should be, within the bounds, for what is known of the work."""
    least, most = bounds_now(snapshot, bounds)
    shape, workers = usual_worker(snapshot), Fraction(0)
    for work in snapshot.jobs:
        at_once = tasks_per_worker(work.needs, shape)
        # No machine is made for tasks that it could not run.
        # (test: test_no_machine_is_made_for_a_label_that_it_will_lack)
        if at_once:
            workers += Fraction(slots_for(work, bounds, now), at_once)
    wanted = math.ceil(workers)
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
