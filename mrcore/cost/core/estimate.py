"""Estimate of a job's cost: a range, and the reasons for its width. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec

from mrcore.cost.prices import Prices, Range
from mrcore.model.formats import Cut, file_format
from mrcore.model.stages import (
    MAP,
    REDUCE,
    Part,
    Reads,
    Run,
    Runs,
    Splits,
    Stage,
    StagePlan,
    Writes,
    kind_of,
    stage_plans,
)
from mrcore.records.inputs import InputFile
from mrcore.records.splits import TOTAL_ORDER_SLOTS, auto_reduces, cut, target_bytes
from mrcore.util.units import show_duration, show_size

MASTER_TYPE: Final = "e2-standard-2"
DISK_GIB: Final = 50.0
CORE_BYTES_PER_SECOND: Final = Range(4e6, 40e6)
"""Speed of a core, from a heavy `map` in Python to blocks of Arrow."""
BOOT_SECONDS: Final = Range(45.0, 180.0)
"""Time from the request to the first task: with a baked image, or with wheels to install."""
LINGER_SECONDS: Final = 60.0
"""Time that an idle worker is kept before its release."""
PREEMPTED_SHARE: Final = Range(0.0, 0.15)
"""Share of a spot machine's work that is done twice."""
SHUFFLE_SHARE: Final = Range(0.1, 1.0)
"""Bytes of all runs of one stage, as a share of the input."""
READ_BYTES: Final = 4 << 20
"""Bytes of one range read."""
JOURNAL_SECONDS: Final = 1.0
"""Time between two journal entries of a busy master."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Input of an estimate."""

    workers: int
    machine_types: tuple[str, ...]
    """Machine types in the order of preference; the range covers all of them."""
    spot: bool
    region: str
    input_bytes: int
    input_files: int = 1
    files: tuple[InputFile, ...] = ()
    """Files of the input, where they are known: their formats decide how they are cut."""
    map_tasks: int = 0
    """Number of map tasks that the job asks for; 0 leaves it to the slots."""
    total_order: bool = False
    cpus: float = 0.0
    """Number of CPUs that each task reserves."""
    reduces: int | None = None
    """Number of reduce tasks of a stage; None: planned by the master."""
    stages: tuple[Stage, ...] = ()
    """Stages of the job; empty: maps, and then reduces unless `reduces` is 0."""
    hours: float | None = None
    """Hours of work, if known."""
    master_type: str = MASTER_TYPE
    masters: int = 1
    disk_gib: float = DISK_GIB


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Result of an estimate."""

    tasks: int
    map_tasks: int
    reduce_tasks: int
    """Tasks of all stages that read what earlier stages wrote."""
    stages: int
    """Number of stages."""
    input_bytes: int
    class_a: int
    """Storage operations that write or list; class B ones read."""
    class_b: int
    vm_hours_low: float
    vm_hours_high: float
    seconds_low: float
    """Time from the request to the result."""
    seconds_high: float
    dollars_low: float
    dollars_high: float
    operations_dollars: float
    prices_date: str
    reasons: tuple[str, ...]
    """Reasons why low and high differ; one sentence each."""

    @property
    def requests(self) -> int:
        """Return all storage operations that are billed."""
        return self.class_a + self.class_b


def estimate(plan: Plan, prices: Prices) -> Estimate:
    """Return what the plan costs; raise UsageError for a machine type that is none."""
    shapes = [prices.shape(name) for name in plan.machine_types]
    slots = plan.workers * max(1, min(math.ceil(shape.vcpus) for shape in shapes))
    reduces = _reduces(plan, slots)
    maps = _map_tasks(plan, slots, reduces)
    stages = stage_plans(_stages(plan), maps, reduces)
    at_once = plan.workers * min(_tasks_at_once(plan, shape.vcpus) for shape in shapes)
    work = _work_seconds(plan, min(at_once, max(1, sum(maps.values()))), _shuffles(stages))
    wall = Range(work.low + BOOT_SECONDS.low, work.high + BOOT_SECONDS.high)
    held = wall.plus(Range(LINGER_SECONDS, LINGER_SECONDS))
    hours = held.times(1 / 3600)
    worker_hour = _hour(plan, prices, plan.machine_types, spot=plan.spot)
    master_hour = _hour(plan, prices, (plan.master_type,), spot=False).times(plan.masters)
    class_a, class_b = _operations(plan, stages, wall.high)
    operations = prices.operations(class_a, class_b)
    low = hours.low * (plan.workers * worker_hour.low + master_hour.low) + operations
    high = hours.high * (plan.workers * worker_hour.high + master_hour.high) + operations
    return Estimate(
        tasks=sum(stage.tasks for stage in stages),
        map_tasks=_tasks(stages, MAP),
        reduce_tasks=_tasks(stages, REDUCE),
        stages=len(stages),
        input_bytes=plan.input_bytes,
        class_a=class_a,
        class_b=class_b,
        vm_hours_low=round(hours.low * (plan.workers + plan.masters), 3),
        vm_hours_high=round(hours.high * (plan.workers + plan.masters), 3),
        seconds_low=round(wall.low, 1),
        seconds_high=round(wall.high, 1),
        dollars_low=round(low, 4),
        dollars_high=round(high, 4),
        operations_dollars=round(operations, 4),
        prices_date=prices.date,
        reasons=_reasons(plan, prices, _shuffles(stages)),
    )


def shuffling_stages(shuffles: int) -> tuple[Stage, ...]:
    """Return the stages of a job that shuffles this often: maps, then reduces after each."""
    reads: list[Reads] = [Splits(), *(Runs((number,)) for number in range(shuffles))]
    writes: list[Writes] = [*[Run()] * shuffles, Part()]
    return tuple(Stage(*each) for each in zip(reads, writes, strict=True))


def _tasks_at_once(plan: Plan, vcpus: float) -> int:
    """Return the number of tasks that one worker runs at a time."""
    slots = max(1, math.ceil(vcpus))
    return max(1, min(slots, int(vcpus / plan.cpus))) if plan.cpus else slots


def _map_tasks(plan: Plan, slots: int, reduces: int) -> Mapping[int, int]:
    """Return the number of map tasks of each input group."""
    cut_slots = TOTAL_ORDER_SLOTS if plan.total_order else slots
    target = target_bytes(plan.input_bytes, cut_slots, plan.map_tasks, reduces=reduces)
    if plan.files:
        files = [_with_points(file, target) for file in plan.files]
        splits = cut(files, cut_slots, plan.map_tasks, reduces=reduces)
        return Counter(split.group for split in splits)
    return {0: -(-plan.input_bytes // target)} if plan.input_bytes else {}


def _with_points(file: InputFile, target: int) -> InputFile:
    """Return a file with the points at which it may be cut; they are assumed and not looked up."""
    if file_format(file.format).cut is not Cut.POINTS:
        return file
    points = tuple(range(0, file.size_bytes, max(target, 1)))
    return msgspec.structs.replace(file, cut_points=points)


def _stages(plan: Plan) -> tuple[Stage, ...]:
    return plan.stages or shuffling_stages(0 if plan.reduces == 0 else 1)


def _reduces(plan: Plan, slots: int) -> int:
    """Return the number of reduce tasks of each stage that reads runs; 0 if none does."""
    if not any(isinstance(stage.writes, Run) for stage in _stages(plan)):
        return 0
    return plan.reduces or auto_reduces(plan.input_bytes, slots)


def _tasks(stages: tuple[StagePlan, ...], kind: str) -> int:
    return sum(stage.tasks for stage in stages if kind_of(stage.reads) == kind)


def _shuffles(stages: tuple[StagePlan, ...]) -> int:
    return sum(isinstance(stage.writes, Run) for stage in stages)


def _work_seconds(plan: Plan, slots: int, shuffles: int) -> Range:
    """Return the seconds for which all slots work.

    The speed of a core includes the first shuffle. Each further one moves a share of the input.
    """
    again = PREEMPTED_SHARE if plan.spot else Range(0.0, 0.0)
    if plan.hours is not None:
        seconds = plan.hours * 3600
        return Range(seconds, seconds * (1 + again.high))
    again_shuffled = SHUFFLE_SHARE.times(max(0, shuffles - 1))
    size = plan.input_bytes / slots
    return Range(
        size * (1 + again_shuffled.low) / CORE_BYTES_PER_SECOND.high * (1 + again.low),
        size * (1 + again_shuffled.high) / CORE_BYTES_PER_SECOND.low * (1 + again.high),
    )


def _hour(plan: Plan, prices: Prices, machine_types: tuple[str, ...], *, spot: bool) -> Range:
    """Return what an hour of one machine costs, with its disk."""
    disk = prices.disk_hour(plan.disk_gib, plan.region)
    hours = [
        prices.machine_hour(name, spot=spot, region=plan.region).plus(Range(disk, disk))
        for name in machine_types
    ]
    return Range(min(hour.low for hour in hours), max(hour.high for hour in hours))


def _operations(plan: Plan, stages: tuple[StagePlan, ...], seconds: float) -> tuple[int, int]:
    """Return the operations of class A and B: see the walk of a record in ARCHITECTURE.md."""
    pages = -(-plan.input_files // 1000)
    journal = math.ceil(seconds / JOURNAL_SECONDS)
    # A task writes a run, or stages a part that a rewrite publishes. Claim, plan and receipt.
    written = sum(stage.tasks * (2 if stage.writes == Part() else 1) for stage in stages)
    class_a = pages + written + journal + 10
    input_reads = -(-plan.input_bytes // READ_BYTES) + plan.input_files
    runs_bytes = plan.input_bytes * SHUFFLE_SHARE.high
    # A task reads its section of each run, by ranges where it is large.
    sections = sum(
        max(stages[number].tasks * stage.tasks, math.ceil(runs_bytes / READ_BYTES))
        for stage in stages
        for number in stage.inputs
    )
    tasks = sum(stage.tasks for stage in stages)
    return class_a, input_reads + sections + 2 * tasks + plan.workers * 5


def _reasons(plan: Plan, prices: Prices, shuffles: int) -> tuple[str, ...]:
    reasons = []
    if plan.hours is None:
        reasons.append(
            f"A core maps and shuffles {show_size(CORE_BYTES_PER_SECOND.low)} to "
            f"{show_size(CORE_BYTES_PER_SECOND.high)} a second: say --hours if you know better."
        )
        if shuffles > 1:
            reasons.append(
                f"Each of {shuffles} shuffles moves {SHUFFLE_SHARE.low:.0%} to "
                f"{SHUFFLE_SHARE.high:.0%} of the input's bytes."
            )
    reasons.append(
        f"Workers boot in {show_duration(BOOT_SECONDS.low)} (baked image) to "
        f"{show_duration(BOOT_SECONDS.high)}."
    )
    if plan.spot:
        reasons.append(
            f"Spot machines cost {prices.spot_share.low:.0%} to {prices.spot_share.high:.0%} of "
            f"the on-demand price, and up to {PREEMPTED_SHARE.high:.0%} of the work is done twice."
        )
    if plan.region not in prices.regions:
        reasons.append(f"The list has no prices of {plan.region}: dear ones are assumed.")
    estimated = prices.estimated((*plan.machine_types, plan.master_type))
    unknown = [family for family in estimated if family not in prices.families]
    if unknown:
        reasons.append(f"The list has no prices of {', '.join(unknown)}: dear ones are assumed.")
    if known := [family for family in estimated if family in prices.families]:
        reasons.append(f"The prices of {', '.join(known)} are estimates, within some percent.")
    return tuple(reasons)
