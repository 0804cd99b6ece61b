"""Memory of jobs that have ended: what people look at is kept, within the bounds of `Limits`.

A bound counts bytes, since a job may be a thousand times larger than another. They are weighed, not
measured: the same in each process, for a replay must forget what the live master has forgotten.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Final

import msgspec

from mrcore.master.core.limits import Limits
from mrcore.model.job import JobState
from mrcore.model.remains import Remains, StageRemains, TaskRemains
from mrcore.model.stages import Result
from mrcore.model.task import TaskFailure, TaskOutput

if TYPE_CHECKING:
    from mrcore.master.core.records import JobRecord, TaskRecord
    from mrcore.master.core.volatile import LiveJob

# Bytes of memory, measured with CPython 3.11 and rounded up.
_JOB_BYTES: Final = 4_000
_TASK_BYTES: Final = 1_000
_FAILED_BYTES: Final = 300
_ENTRY_BYTES: Final = 250
"""An entry of a dict of names and numbers, or of texts."""
_BLOCK_BYTES: Final = 200
_OBJECT_BYTES: Final = 600
"""An object's name and facts, where the result of a task is one."""
_BRIEF_CHARS: Final = 500


def brief(failure: TaskFailure) -> TaskFailure:
    """Return a failure without its traceback, and with the beginning of its message."""
    return msgspec.structs.replace(failure, message=failure.message[:_BRIEF_CHARS], traceback="")


def without_bytes(failure: TaskFailure) -> TaskFailure:
    """Return a failure without the exception and the text of a call, for its client only."""
    if not failure.exception and not failure.printed:
        return failure
    return msgspec.structs.replace(failure, exception=b"", printed=b"")


def weight_of_blocks(output: TaskOutput) -> int:
    """Return about what the keys of a run's blocks take, which a total order needs."""
    return sum(_BLOCK_BYTES + len(block.first_key) for block in output.blocks)


def leaves_remains(job: JobRecord) -> bool:
    """Return whether an ended job is kept whole until its clean-up has stored its remains.

    Its runs and staged parts stay where they are, for those who go on with it. While the store
    cannot take remains it takes no plans either, so these jobs are no more than were live once.

    One without an output is kept for those who replay its tasks. Nobody goes on with one, and one
    that was cancelled has mostly given what its caller wanted.
    """
    if not job.stages or job.calls is not None or job.cleaned:
        return False
    return job.state is JobState.FAILED or (
        job.state is JobState.CANCELLED and bool(job.spec.output_uri)
    )


def keeps_temporaries(job: JobRecord) -> bool:
    """Return whether an ended job keeps its temporaries, to be resumed or to have a task replayed.

    Nobody goes on with one that was cancelled and has no output, nor with a session. Those of a job
    that another one has brought to its end go with that one's own.
    """
    if job.calls is not None or job.state is JobState.SUCCEEDED or job.continued:
        return False
    return job.state is JobState.FAILED or bool(job.spec.output_uri)


def remains_of(job: JobRecord) -> Remains:
    """Return the remains of a job that is still whole."""
    return Remains(
        job_id=job.job_id,
        spec=job.spec,
        state=job.state,
        message=job.message,
        input_bytes=job.input_bytes,
        resumes=job.resumes,
        stages=tuple(
            StageRemains(stage.plan, stage.name, tuple(map(_task_remains, stage.tasks)))
            for stage in job.stages
        ),
    )


def _task_remains(task: TaskRecord) -> TaskRemains:
    return TaskRemains(
        winner=task.winner,
        worker_id=task.worker_id,
        output=task.output,
        failed=tuple(failed.number for failed in task.failed),
        last_failure=task.last_failure,
        skip=task.skip,
    )


def weigh_whole(job: JobRecord) -> None:
    """Weigh a job that is whole for a moment, as if its tasks were light: it must evict nobody."""
    job.kept_bytes = _weight(job) + _TASK_BYTES * job.task_count


def lighten(job: JobRecord, limits: Limits) -> None:
    """Drop of a job that has ended what only its tasks needed, and weigh the rest."""
    job.spec = msgspec.structs.replace(job.spec, inputs=job.spec.inputs[: limits.ended_inputs_max])
    job.commit_plan = None
    job.traced = []
    for name in list(job.counters)[limits.counters_max :]:
        del job.counters[name]
    job.kept_bytes = _weight(job)
    for stage in job.stages:
        results = isinstance(stage.plan.writes, Result)
        job.kept_bytes += sum(_lighten_task(task, limits, results) for task in stage.tasks)
    if job.kept_bytes > limits.ended_job_bytes_max:
        job.kept_bytes = _weight(job) + 8 * job.task_count
        for stage in job.stages:
            stage.tasks = _skeletons(stage.tasks)
            if isinstance(stage.plan.writes, Result):
                won = (task for task in stage.tasks if task.winner is not None)
                job.kept_bytes += sum(_TASK_BYTES + _weight_of_result(task) for task in won)


def _weight(job: JobRecord) -> int:
    """Return about what a job takes without its tasks; texts take up to 4 bytes a character."""
    texts = msgspec.msgpack.encode(
        (job.spec, job.message, job.failure, job.counters, job.recent_failures)
    )
    entries = len(job.counters) + len(job.spec.params)
    return 2 * len(texts) + _ENTRY_BYTES * entries + _JOB_BYTES


def _weight_of_result(task: TaskRecord) -> int:
    """Return about what the result of a task takes."""
    if task.output is None:
        return 0
    return len(task.output.result) + (0 if task.output.object is None else _OBJECT_BYTES)


def _lighten_task(task: TaskRecord, limits: Limits, results: bool) -> int:
    """Keep of a task what people look at, and its result; return about what that takes."""
    output = task.output
    if output is not None:
        task.output = TaskOutput(
            object=output.object if results else None,
            records_in=output.records_in,
            records_out=output.records_out,
            bytes_in=output.bytes_in,
            bytes_out=output.bytes_out,
            elapsed_seconds=output.elapsed_seconds,
            result=output.result,
        )
    task.digest = None
    task.last_failure = None
    task.culprits = []
    task.raised_errors = []
    task.skip = ()
    del task.failed[: -limits.ended_failed_max]
    names = len(task.worker_id) + sum(len(failed.worker_id) for failed in task.failed)
    entries = _FAILED_BYTES * len(task.failed) + _weight_of_result(task)
    return _TASK_BYTES + entries + 2 * names


def _skeletons(tasks: list[TaskRecord]) -> list[TaskRecord]:
    """Return tasks that show whether they were won, and their results.

    Those without a result are two objects for all of them.
    """
    if not tasks:
        return []
    kind = type(tasks[0])
    won = next((task.winner for task in tasks if task.winner is not None), None)
    completed, open_ = kind(winner=won, output=TaskOutput()), kind()

    def skeleton(task: TaskRecord) -> TaskRecord:
        output = task.output
        if task.winner is None or output is None:
            return open_
        if not output.result and output.object is None:
            return completed
        kept = TaskOutput(result=output.result, object=output.object)
        return kind(winner=task.winner, output=kept)

    return [skeleton(task) for task in tasks]


def share_skeletons(job: JobRecord) -> None:
    """Make two objects again of the tasks of a large ended job, as they were before a snapshot."""
    for stage in job.stages:
        if any(task.winner is not None and not task.worker_id for task in stage.tasks):
            stage.tasks = _skeletons(stage.tasks)


class Stories:
    """Jobs that ended lately, with the stories of their tasks: the newest, within bounds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._kept: dict[str, tuple[LiveJob, int, int]] = {}
        """Job, tasks and lines, oldest first."""

    def get(self, job_id: str) -> LiveJob | None:
        """Return the volatile half of a job that ended lately."""
        kept = self._kept.get(job_id)
        return None if kept is None else kept[0]

    def keep(self, job: LiveJob, remembered: Container[str]) -> None:
        """Keep the stories of a job that has ended; forget older ones, or these if too large.

        With a job that is not `remembered` go its stories, too: they would keep all of it.
        """
        if job.record.calls is not None:  # the story of a call goes with its release
            return
        tasks = [task for stage in job.stages for task in stage.tasks]
        lines = sum(len(task.story) for task in tasks)
        self._kept[job.record.job_id] = (job, len(tasks), lines)
        self._kept = {name: kept for name, kept in self._kept.items() if name in remembered}
        while self._kept and not self._fits():
            del self._kept[next(iter(self._kept))]

    def totals(self) -> tuple[int, int, int]:
        """Return how many jobs, tasks and lines are kept."""
        kept = self._kept.values()
        return len(kept), sum(tasks for _, tasks, _ in kept), sum(lines for _, _, lines in kept)

    def _fits(self) -> bool:
        jobs, tasks, lines = self.totals()
        return (
            jobs <= self._limits.ended_stories_max
            and tasks <= self._limits.ended_story_tasks_max
            and lines <= self._limits.ended_story_lines_max
        )
