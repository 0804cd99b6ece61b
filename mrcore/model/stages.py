"""Stages of a job: sets of equal tasks that read something, call user functions, and write.

A job is a tuple of stages. Each names what its tasks read, the user functions that they call, and
what they write. Tasks of a stage start once all stages that they read are complete.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from mrcore.model.job import JobSpec

MAX_STAGES: Final = 1_000
MAP: Final = "map"
REDUCE: Final = "reduce"
CALL: Final = "call"
KINDS: Final = (MAP, REDUCE, CALL)
"""The kinds of task, as the field calls them: one reads input, one what stages wrote, one is a call
of a single function."""
_TASK_NAME: Final = re.compile(r"((?:step\d{1,4}-)?(?:map|reduce)|call)-(\d{1,9})")


class Splits(msgspec.Struct, frozen=True, tag="splits"):
    """A task for each split of the job's input, or of some of its input groups."""

    groups: tuple[int, ...] = ()
    """Numbers of the input groups (`Plugin.groups`); none stands for the whole input."""

    def takes(self, group: int) -> bool:
        """Return whether the tasks read the splits of an input group."""
        return not self.groups or group in self.groups


class Runs(msgspec.Struct, frozen=True, tag="runs"):
    """A task for each partition: it merges that partition of every run of earlier stages.

    Values of a key come by stage, then by task of that stage, then as they were emitted, unless
    the step has a `sort_key`.
    """

    stages: tuple[int, ...]
    """Numbers of the stages that wrote the runs, ascending."""


class Calls(msgspec.Struct, frozen=True, tag="calls"):
    """A task for each call that the client of a session has added."""


Reads = Splits | Runs | Calls


class Run(msgspec.Struct, frozen=True, tag="run"):
    """A sorted and partitioned run, an object for each attempt."""

    total_order: bool = False
    """Cut by key ranges that are chosen when the stage is complete, not by a partition function."""


class Part(msgspec.Struct, frozen=True, tag="part"):
    """A part of the output, staged until the job commits."""


class Result(msgspec.Struct, frozen=True, tag="result"):
    """A value for the caller: inside the attempt's report, or an object where it is large."""


Writes = Run | Part | Result


class StagePlan(msgspec.Struct, frozen=True):
    """The shape of a stage, for scheduling: how many tasks, what they read and write."""

    tasks: int
    reads: Reads
    writes: Writes

    @property
    def inputs(self) -> tuple[int, ...]:
        """Return the numbers of the stages that it reads."""
        return self.reads.stages if isinstance(self.reads, Runs) else ()


class Stage(msgspec.Struct, frozen=True):
    """What the tasks of a stage do, by step of the plugin."""

    reads: Reads
    writes: Writes
    reduce_step: int | None = None
    """Step whose `reduce` is called for each key; None passes what was read on."""
    map_steps: tuple[int, ...] = ()
    """Steps whose `map` functions are then applied, one after the other."""
    run_step: int | None = None
    """Step whose `combine`, `partition` and `sort_key` shape the run; None writes no run."""

    @property
    def total_order(self) -> bool:
        """Return whether its run is cut by key ranges."""
        return isinstance(self.writes, Run) and self.writes.total_order


def stages_of(spec: JobSpec) -> tuple[Stage, ...]:
    """Return the stages of a job.

    A reduce and the maps that follow it share a stage; so do a map and the maps of the next steps,
    up to the first step that reduces. The last step always sorts its pairs, with or without a
    reduce, unless the job is map-only.
    """
    if spec.session is not None:
        return (Stage(Calls(), Result()),)
    stages: list[Stage] = []
    reads: Reads = Splits()
    reduce_step: int | None = None
    map_steps: list[int] = []
    last = len(spec.plugin.steps) - 1
    for number, step in enumerate(spec.plugin.steps):
        if step.has_map:
            map_steps.append(number)
        if number == last and spec.map_only:
            break
        if number != last and not step.has_reduce:
            continue
        run = Run(total_order=spec.total_order and number == last)
        stages.append(Stage(reads, run, reduce_step, tuple(map_steps), run_step=number))
        reads = Runs((len(stages) - 1,))
        reduce_step = number if step.has_reduce else None
        map_steps = []
    writes: Writes = Part() if spec.output_uri else Result()
    stages.append(Stage(reads, writes, reduce_step, tuple(map_steps)))
    return tuple(stages)


def stage_plans(
    stages: Sequence[Stage], splits: Mapping[int, int], partitions: int
) -> tuple[StagePlan, ...]:
    """Return the shapes of stages; `splits` are the numbers of splits by input group.

    Runs have `partitions` sections.
    """

    def tasks(reads: Reads) -> int:
        if not isinstance(reads, Splits):
            return partitions
        return sum(count for group, count in splits.items() if reads.takes(group))

    return tuple(StagePlan(tasks(each.reads), each.reads, each.writes) for each in stages)


def kind_of(reads: Reads) -> str:
    """Return the kind of the tasks that read this: `map`, `reduce` or `call`."""
    match reads:
        case Splits():
            return MAP
        case Runs():
            return REDUCE
        case Calls():
            return CALL


def kind_of_name(stage: str) -> str:
    """Return the kind of a stage's tasks, `map`, `reduce` or `call`, given its name."""
    return stage.rpartition("-")[2]


def stage_names(reads: Iterable[Reads]) -> tuple[str, ...]:
    """Return the names of a job's stages, given what each of them reads.

    They are `call` in a session, `map` and `reduce` in a job of one or two stages, and `step1-map`,
    `step1-reduce`, `step2-reduce` in a longer one: the number counts the stages of that kind.
    """
    kinds = [kind_of(each) for each in reads]
    if len(kinds) <= 2 and len(set(kinds)) == len(kinds):
        return tuple(kinds)
    seen: Counter[str] = Counter()
    names = []
    for kind in kinds:
        seen[kind] += 1
        names.append(f"step{seen[kind]}-{kind}")
    return tuple(names)


def stage_name(spec: JobSpec, stage: int) -> str:
    """Return the name of a stage of a job, such as `map` or `step2-reduce`."""
    return stage_names(each.reads for each in stages_of(spec))[stage]


def task_name(stage: str, index: int) -> str:
    """Return the name of a task within its job, such as `map-00003`, given its stage's name."""
    return f"{stage}-{index:05d}"


def parse_task_name(text: str) -> tuple[str, int] | None:
    """Return the stage's name and the index in a task's name; None where it is not one."""
    match = _TASK_NAME.fullmatch(text)
    return None if match is None else (match[1], int(match[2]))
