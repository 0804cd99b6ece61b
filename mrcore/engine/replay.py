"""Replay of one task: the user's functions in this process, on what the task has read.

Nothing is written to the job: what the task emits goes to a folder of its own, which is removed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mrcore.engine.post_mortem import watched
from mrcore.errors import MrcoreError, NotFoundError, StorageError, UsageError
from mrcore.model import object_names, remains
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobSpec, JobState, Session
from mrcore.model.remains import Remains, TaskAtHand
from mrcore.model.stages import Splits, stage_names, stage_plans, stages_of, task_name
from mrcore.model.task import CallInput, RunInput, Split, TaskRef, TaskResult, TaskSpec, TaskWork
from mrcore.plugin import nesting
from mrcore.plugin.loader import load_bundle
from mrcore.plugin.precheck import plugin_of
from mrcore.shuffle.ranges import choose_boundaries, run_input, section_starts
from mrcore.storage.registry import storage_for, uri_of_path
from mrcore.tasks import plan
from mrcore.tasks.call import Calls
from mrcore.tasks.progress import NoProgress
from mrcore.tasks.run import run_task
from mrcore.tasks.shipped import ShippedModules
from mrcore.util.temporary import temporary_folder
from mrcore.util.units import show_number

if TYPE_CHECKING:
    from mrcore.plugin.bundle import Bundle
    from mrcore.plugin.functions import UserFunctions


class TaskGoneError(MrcoreError):
    """Error for data of a task that is not there any more, or was never kept."""


def from_remains(state_uri: str, job_id: str, stage: str, index: int) -> TaskAtHand | None:
    """Return a task of a job that failed or was cancelled; None where it has left no remains.

    Only the store is asked. Raises UsageError for a task that the job does not have.
    """
    uri = object_names.remains_uri(state_uri, job_id)
    try:
        left = remains.decode(storage_for(uri).read(uri))
    except NotFoundError:
        return None
    tasks = {each.name: len(each.tasks) for each in left.stages}
    number = _stage_number(job_id, tasks, stage, index)
    task = left.stages[number].tasks[index]
    return TaskAtHand(
        state_uri=state_uri,
        spec=left.spec,
        job_state=left.state,
        work=_work(left, state_uri, number, index),
        skip=task.skip,
        failed=task.failed,
        last_failure=task.last_failure,
    )


def from_plan(state_uri: str, job_id: str, spec: JobSpec, stage: str, index: int) -> TaskAtHand:
    """Return a task of a job that succeeded: of its work the plan is left, and no run.

    Raises UsageError for a task that the job does not have, TaskGoneError for one that reads runs.
    """
    planned = _plan(state_uri, job_id)
    plans = stage_plans(stages_of(spec), planned.splits_by_group, planned.reduces)
    names = stage_names(each.reads for each in plans)
    tasks = {name: each.tasks for name, each in zip(names, plans, strict=True)}
    number = _stage_number(job_id, tasks, stage, index)
    reads = plans[number].reads
    if not isinstance(reads, Splits):
        raise TaskGoneError(
            f"{task_name(stage, index)} has read runs, and those of {job_id} were removed when it "
            "succeeded. Replay a task that reads the input, or run the job again."
        )
    partitions = next((each.tasks for each in plans if number in each.inputs), 0)
    work = TaskWork(_split(planned, reads, index), partitions)
    return TaskAtHand(state_uri=state_uri, spec=spec, job_state=JobState.SUCCEEDED, work=work)


def _stage_number(job_id: str, tasks: dict[str, int], stage: str, index: int) -> int:
    if index < tasks.get(stage, 0):
        return list(tasks).index(stage)
    stages = ", ".join(f"{name} with {show_number(n, 'task')}" for name, n in tasks.items())
    raise UsageError(
        f"{task_name(stage, index)} is not a task of {job_id}. Its stages are {stages or 'none'}, "
        "counted from 0."
    )


def _work(left: Remains, state_uri: str, number: int, index: int) -> TaskWork:
    stage = left.stages[number]
    readers = (len(each.tasks) for each in left.stages if number in each.plan.inputs)
    partitions = next(readers, 0)
    if isinstance(stage.plan.reads, Splits):
        split = _split(_plan(state_uri, left.job_id), stage.plan.reads, index)
        return TaskWork(split, partitions)
    outputs = []
    for read in stage.plan.inputs:
        for at, task in enumerate(left.stages[read].tasks):
            if task.output is None:
                raise TaskGoneError(
                    f"{task_name(stage.name, index)} reads the run of "
                    f"{task_name(left.stages[read].name, at)}, which had no result when the job "
                    "ended. Replay that task, or resume the job."
                )
            outputs.append((TaskRef(read, at), task.output))
    boundaries = None
    if any(stages_of(left.spec)[read].total_order for read in stage.plan.inputs):
        boundaries = choose_boundaries([output for _, output in outputs], len(stage.tasks))
    starts = [section_starts(output) for _, output in outputs]
    runs: RunInput = run_input(outputs, len(stage.tasks), index, boundaries, starts)
    return TaskWork(runs, partitions)


def _split(planned: plan.Plan, reads: Splits, index: int) -> Split:
    return [split for split in planned.splits if reads.takes(split.group)][index]


def _plan(state_uri: str, job_id: str) -> plan.Plan:
    uri = object_names.plan_uri(state_uri, job_id)
    try:
        return plan.decode(storage_for(uri).read(uri))
    except NotFoundError:
        raise TaskGoneError(
            f"The plan of {job_id} is not in {object_names.shown(state_uri)} any more. Run the job "
            "again."
        ) from None


def replay(
    at: TaskAtHand,
    job_id: str,
    stage: int,
    index: int,
    *,
    attempt: AttemptNumber | None = None,
    mended: Bundle | None = None,
    post_mortem: bool = False,
) -> TaskResult:
    """Run a task here, with the job's plugin or a `mended` one; return its result.

    With `post_mortem` the debugger opens where the user's code raises. Raises TaskGoneError for
    what is not there any more, PluginError and UsageError for a plugin that does not fit.
    """
    work = at.work
    assert work is not None
    number = attempt or (at.failed[-1] if at.failed else AttemptNumber(1, 1))
    spec = TaskSpec(
        attempt=AttemptId(TaskId(job_id, stage, index), number),
        job=at.spec,
        state_uri=at.state_uri,
        work=work,
        memory_bytes=at.spec.memory_bytes,
        skip=at.skip,
    )
    with temporary_folder("replay") as folder, nesting.jobs_forbidden():
        if isinstance(work.read, CallInput):
            return _call(spec, folder / "plugin", post_mortem)
        functions, job = _functions(at, mended, folder / "plugin")
        here = msgspec.structs.replace(
            spec, job=_apart(job, folder), state_uri=uri_of_path(folder / "state")
        )
        scratch = folder / "scratch"
        scratch.mkdir()
        shown = functions.wrapped(watched) if post_mortem else functions
        return run_task(here, shown, scratch, NoProgress())


def _call(spec: TaskSpec, plugins: Path, post_mortem: bool) -> TaskResult:
    """Make a call once; its function, arguments and values are read from the state."""
    job = msgspec.structs.replace(spec.job, session=Session())
    calls = Calls(ShippedModules(plugins), keep_values=False, wrap=watched if post_mortem else None)
    try:
        return calls.run(msgspec.structs.replace(spec, job=job), _NoItems())
    except StorageError as error:
        raise TaskGoneError(f"What the call needs cannot be read: {error}") from None


def _apart(spec: JobSpec, folder: Path) -> JobSpec:
    """Return the job with places of its own, so that a task writes nothing to the real ones."""
    output = uri_of_path(folder / "out") if spec.output_uri else ""
    return msgspec.structs.replace(spec, output_uri=output, temp_uri=uri_of_path(folder / "temp"))


def _functions(
    at: TaskAtHand, mended: Bundle | None, folder: Path
) -> tuple[UserFunctions, JobSpec]:
    if mended is not None:
        functions = load_bundle(mended.data, folder)
        plugin = msgspec.structs.replace(
            plugin_of(mended, functions.described()), stages=at.spec.plugin.stages
        )
        job = msgspec.structs.replace(at.spec, plugin=plugin)
        if stages_of(job) != stages_of(at.spec):
            raise UsageError(
                f"{mended.name} does not have the steps of {at.spec.plugin.name}, so its tasks are "
                "others. Run it as a job of its own."
            )
        return functions, job
    sha256 = at.spec.plugin.sha256
    uri = object_names.plugin_uri(at.state_uri, sha256)
    try:
        data = storage_for(uri).read(uri)
    except NotFoundError:
        raise TaskGoneError(
            f"The plugin {at.spec.plugin.name} of the job is not in "
            f"{object_names.shown(at.state_uri)}, or cannot be seen from here. Name its file with "
            "--plugin."
        ) from None
    except StorageError as error:
        raise TaskGoneError(f"The plugin of the job cannot be read: {error}") from None
    return load_bundle(data, folder, sha256), at.spec


class _NoItems:
    """Discards reports of a call's items."""

    def begin_item(self, now: float, done: int, items: int) -> None:
        """Do nothing."""

    def end_items(self) -> None:
        """Do nothing."""
