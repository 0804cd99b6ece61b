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

from mrcore.model.graph import (
    Calls,
    Part,
    Reads,
    Result,
    Run,
    Runs,
    Splits,
    Stage,
    StagePlan,
    Writes,
)
from mrcore.model.job import JobSpec

__all__ = [
    "Calls", "Part", "Reads", "Result", "Run", "Runs", "Splits", "Stage", "StagePlan", "Writes",
]  # fmt: skip

MAX_STAGES: Final = 1_000
MAP: Final = "map"
REDUCE: Final = "reduce"
CALL: Final = "call"
KINDS: Final = (MAP, REDUCE, CALL)
"""The kinds of task, as the field calls them: one reads input, one what stages wrote, one is a call
of a single function."""
_TASK_NAME: Final = re.compile(r"((?:step\d{1,4}-)?(?:map|reduce)|call)-(\d{1,9})")


_latest: tuple[JobSpec | None, tuple[Stage, ...], tuple[str, ...]] = (None, (), ())
"""The job whose stages were asked for last, with them and their names. They are asked for several
times a task, and most tasks in a row are of one job."""


def stages_of(spec: JobSpec) -> tuple[Stage, ...]:
    """Return the stages of a job: those that its plugin states, else what follows from its steps.

    A reduce and the maps that follow it share a stage; so do a map and the maps of the next steps,
    up to the first step that reduces. The last step always sorts its pairs, with or without a
    reduce, unless the job is map-only.
    """
    return _known(spec)[0]


def _known(spec: JobSpec) -> tuple[tuple[Stage, ...], tuple[str, ...]]:
    global _latest  # noqa: PLW0603 - a value that follows from the job alone
    known, stages, names = _latest
    if known is not spec:
        stages = _stages(spec)
        names = stage_names(each.reads for each in stages)
        _latest = (spec, stages, names)
    return stages, names


def _stages(spec: JobSpec) -> tuple[Stage, ...]:
    if spec.session is not None:
        return (Stage(Calls(), Result()),)
    writes: Writes = Part() if spec.output_uri else Result()
    if spec.plugin.stages:
        *earlier, last_stage = spec.plugin.stages
        return (*earlier, msgspec.structs.replace(last_stage, writes=writes))
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
    stages.append(Stage(reads, writes, reduce_step, tuple(map_steps)))
    return tuple(stages)


def stage_plans(
    stages: Sequence[Stage], splits: Mapping[int, int], partitions: int
) -> tuple[StagePlan, ...]:
    """Return the shapes of stages; `splits` are the numbers of splits by input group.

    Runs have `partitions` sections, unless the stage that reads them states its tasks.
    """

    def tasks(stage: Stage) -> int:
        reads = stage.reads
        if not isinstance(reads, Splits):
            return stage.tasks or partitions
        return sum(count for group, count in splits.items() if reads.takes(group))

    return tuple(StagePlan(tasks(each), each.reads, each.writes) for each in stages)


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
    return _known(spec)[1][stage]


def task_name(stage: str, index: int) -> str:
    """Return the name of a task within its job, such as `map-00003`, given its stage's name."""
    return f"{stage}-{index:05d}"


def parse_task_name(text: str) -> tuple[str, int] | None:
    """Return the stage's name and the index in a task's name; None where it is not one."""
    match = _TASK_NAME.fullmatch(text)
    return None if match is None else (match[1], int(match[2]))
