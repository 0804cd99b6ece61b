"""Conversion of the stages that a plugin states, between structs and messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mrcore.errors import UsageError
from mrcore.model.graph import Part, Run, Runs, Splits, Stage
from mrcore.model.job import MAX_REDUCES
from mrcore.model.stages import MAX_STAGES
from mrcore.rpc.v1 import plugin_pb2

_MAX_LIST: Final = 1_000
"""Length of any list in the message of a stage."""


def stage_to_proto(stage: Stage) -> plugin_pb2.Stage:
    """Return the message."""
    reads = stage.reads
    return plugin_pb2.Stage(
        groups=reads.groups if isinstance(reads, Splits) else (),
        stages=reads.stages if isinstance(reads, Runs) else (),
        reduce_step=stage.reduce_step,
        map_steps=stage.map_steps,
        run_step=stage.run_step,
        total_order=stage.total_order,
        tasks=stage.tasks,
    )


def stages_from_proto(message: plugin_pb2.Plugin) -> tuple[Stage, ...]:
    """Return the stages of a plugin; raise UsageError for a graph that cannot be run."""
    if len(message.stages) > MAX_STAGES:
        raise UsageError(
            f"The job has {len(message.stages):,} stages, and {MAX_STAGES:,} is the limit. Make "
            "several jobs of it."
        )
    stages = tuple(map(_stage_from_proto, message.stages))
    for number, stage in enumerate(stages):
        problem = _problem(message, stages, number, stage)
        if problem:
            raise UsageError(f"Stage {number + 1} of the job {problem}.")
    return stages


def _stage_from_proto(message: plugin_pb2.Stage) -> Stage:
    run_step = message.run_step if message.HasField("run_step") else None
    return Stage(
        reads=Runs(tuple(message.stages)) if message.stages else Splits(tuple(message.groups)),
        writes=Part() if run_step is None else Run(total_order=message.total_order),
        reduce_step=message.reduce_step if message.HasField("reduce_step") else None,
        map_steps=tuple(message.map_steps),
        run_step=run_step,
        tasks=message.tasks,
    )


def _problem(message: plugin_pb2.Plugin, stages: Sequence[Stage], number: int, stage: Stage) -> str:
    """Return what is wrong with a stage, as the end of a sentence; empty for nothing."""
    steps = [*stage.map_steps, stage.reduce_step or 0, stage.run_step or 0]
    last = number == len(stages) - 1
    if max(steps) >= len(message.steps):
        return f"names step {max(steps) + 1}, and the plugin has {len(message.steps)}. Count from 0"
    if last != (stage.run_step is None):
        return "has to write a run unless it is the last, and only then"
    if stage.tasks > MAX_REDUCES:
        return f"has {stage.tasks:,} tasks, and {MAX_REDUCES:,} is the limit"
    if isinstance(stage.reads, Runs):
        return _problem_of_runs(stages, number, stage.reads, stage.tasks)
    if not isinstance(stage.reads, Splits) or not stage.reads.groups:
        return "reads neither input groups nor runs. State one of the two"
    if len(stage.reads.groups) > _MAX_LIST or max(stage.reads.groups) >= len(message.groups):
        return "reads an input group that the plugin does not have. Count groups from 0"
    return ""


def _problem_of_runs(stages: Sequence[Stage], number: int, reads: Runs, tasks: int) -> str:
    if len(reads.stages) > _MAX_LIST or list(reads.stages) != sorted(set(reads.stages)):
        return "has to name the stages that it reads in ascending order, each once"
    if reads.stages[-1] >= number:
        return "reads a stage that is not before it"
    for other in stages[:number]:
        shares = isinstance(other.reads, Runs) and set(other.reads.stages) & set(reads.stages)
        if shares and other.tasks != tasks:
            return "has another number of tasks than a stage that reads the same runs"
    return ""
