"""Stages of a job: what each reads, calls and writes, and how people call its tasks."""

from __future__ import annotations

import pytest

from mrcore.model.job import JobSpec, StepFlags
from mrcore.model.stages import (
    Part,
    Reads,
    Run,
    Runs,
    Splits,
    Stage,
    parse_task_name,
    stage_names,
    stage_plans,
    stages_of,
    task_name,
)
from tests.support.specs import job_spec

MAP = StepFlags()
BOTH = StepFlags(has_reduce=True)
REDUCE = StepFlags(has_map=False, has_reduce=True)


def spec_of(*steps: StepFlags, map_only: bool = False, total_order: bool = False) -> JobSpec:
    return job_spec(steps=steps, map_only=map_only, total_order=total_order)


def reads(stage: int) -> Runs:
    return Runs((stage,))


JOBS: dict[str, tuple[JobSpec, list[Stage]]] = {
    "map and reduce": (
        spec_of(BOTH),
        [Stage(Splits(), Run(), None, (0,), 0), Stage(reads(0), Part(), 0)],
    ),
    "map alone is sorted": (
        spec_of(MAP),
        [Stage(Splits(), Run(), None, (0,), 0), Stage(reads(0), Part())],
    ),
    "map-only": (spec_of(BOTH, map_only=True), [Stage(Splits(), Part(), None, (0,))]),
    "three steps": (
        spec_of(BOTH, BOTH, BOTH),
        [
            Stage(Splits(), Run(), None, (0,), 0),
            Stage(reads(0), Run(), 0, (1,), 1),
            Stage(reads(1), Run(), 1, (2,), 2),
            Stage(reads(2), Part(), 2),
        ],
    ),
    "a step without map passes pairs on": (
        spec_of(BOTH, REDUCE),
        [
            Stage(Splits(), Run(), None, (0,), 0),
            Stage(reads(0), Run(), 0, (), 1),
            Stage(reads(1), Part(), 1),
        ],
    ),
    "a step without reduce shares a task with the next map": (
        spec_of(MAP, MAP, BOTH),
        [Stage(Splits(), Run(), None, (0, 1, 2), 2), Stage(reads(0), Part(), 2)],
    ),
    "the last step sorts, with or without a reduce": (
        spec_of(BOTH, MAP),
        [
            Stage(Splits(), Run(), None, (0,), 0),
            Stage(reads(0), Run(), 0, (1,), 1),
            Stage(reads(1), Part()),
        ],
    ),
    "unless its pairs are written as they come": (
        spec_of(BOTH, MAP, map_only=True),
        [Stage(Splits(), Run(), None, (0,), 0), Stage(reads(0), Part(), 0, (1,))],
    ),
    "total order is that of the output": (
        spec_of(BOTH, BOTH, total_order=True),
        [
            Stage(Splits(), Run(), None, (0,), 0),
            Stage(reads(0), Run(total_order=True), 0, (1,), 1),
            Stage(reads(1), Part(), 1),
        ],
    ),
}


@pytest.mark.parametrize("name", JOBS)
def test_stages_follow_from_the_steps(name: str) -> None:
    spec, stages = JOBS[name]
    assert list(stages_of(spec)) == stages


def test_a_stage_has_a_task_for_each_split_or_partition() -> None:
    plans = stage_plans(stages_of(spec_of(BOTH, BOTH)), splits={0: 3, 1: 4}, partitions=3)
    assert [(plan.tasks, plan.inputs) for plan in plans] == [(7, ()), (3, (0,)), (3, (1,))]


def test_a_stage_may_read_the_splits_of_some_input_groups() -> None:
    join = [Stage(Splits((0, 2)), Run()), Stage(Splits((1,)), Run()), Stage(Runs((0, 1)), Part())]
    plans = stage_plans(join, splits={0: 3, 1: 4, 2: 1}, partitions=2)
    assert [plan.tasks for plan in plans] == [4, 4, 2]


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        ([Splits()], ("map",)),
        ([Splits(), reads(0)], ("map", "reduce")),
        ([Splits(), reads(0), reads(1)], ("step1-map", "step1-reduce", "step2-reduce")),
        ([Splits(), Splits(), Runs((0, 1))], ("step1-map", "step2-map", "step1-reduce")),
        ([Splits(), Splits()], ("step1-map", "step2-map")),
    ],
)
def test_names_of_stages_differ_within_a_job(kinds: list[Reads], names: tuple[str, ...]) -> None:
    assert stage_names(kinds) == names
    for name in names:
        assert parse_task_name(task_name(name, 12)) == (name, 12)


@pytest.mark.parametrize(
    "text", ["", "map", "map-", "mapp-1", "step-map-1", "step1-map", "../map-1", "map-1@1.2"]
)
def test_what_names_no_task_is_none(text: str) -> None:
    assert parse_task_name(text) is None
    assert parse_task_name("map-3") == ("map", 3), "people may leave out zeros"
