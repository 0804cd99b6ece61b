"""Remains of jobs that failed or were cancelled, and what others need to run one of their tasks.

The master stores them beside the job's plan. With the plan, the plugin and the temporaries they are
all that is needed to run one of its tasks again, or to go on with the job.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mrcore.errors import DataError
from mrcore.model.ids import AttemptNumber
from mrcore.model.job import JobSpec, JobState
from mrcore.model.stages import StagePlan
from mrcore.model.task import Skip, TaskFailure, TaskOutput, TaskWork
from mrcore.util.decoding import UNREADABLE

FORMAT: Final = 1
"""Version of the encoding; others are refused."""


class TaskRemains(msgspec.Struct, frozen=True, omit_defaults=True):
    """One task: its accepted result, and what went wrong."""

    winner: AttemptNumber | None = None
    worker_id: str = ""
    """Worker of the winner."""
    output: TaskOutput | None = None
    """Output of the winner."""
    failed: tuple[AttemptNumber, ...] = ()
    """Attempts that failed, oldest first: the newest ones."""
    last_failure: TaskFailure | None = None
    """Failure of the newest of them."""
    skip: tuple[Skip, ...] = ()
    """Records that its attempts had leave to skip."""


class StageRemains(msgspec.Struct, frozen=True):
    """One stage and its tasks."""

    plan: StagePlan
    name: str
    tasks: tuple[TaskRemains, ...]

    @property
    def complete(self) -> bool:
        """Return whether every task has a result."""
        return all(task.output is not None for task in self.tasks)


class Remains(msgspec.Struct, frozen=True, kw_only=True):
    """Results and failures that a job has left."""

    format: int = FORMAT
    job_id: str
    spec: JobSpec
    state: JobState
    message: str
    """Reason for its end, in one sentence."""
    input_bytes: int
    resumes: tuple[str, ...] = ()
    """Former jobs that it went on with: its results may be theirs."""
    stages: tuple[StageRemains, ...]


class KeptResult(msgspec.Struct, frozen=True):
    """A result of a former job that stands for a task of the job that goes on."""

    stage: int
    index: int
    """Number of the task within its stage."""
    winner: AttemptNumber
    """Attempt of the former job's task."""
    worker_id: str
    output: TaskOutput


class TaskAtHand(msgspec.Struct, frozen=True, kw_only=True):
    """A task as somebody gets it who runs it again."""

    state_uri: str
    """Place of the state with the plugin of the job."""
    spec: JobSpec
    job_state: JobState
    work: TaskWork | None = None
    """Input of the task; None where that is not known."""
    missing: str = ""
    """Reason why it is not known, as the end of a sentence."""
    skip: tuple[Skip, ...] = ()
    failed: tuple[AttemptNumber, ...] = ()
    """Attempts that failed, oldest first: the newest ones."""
    last_failure: TaskFailure | None = None
    """Failure of the newest of them, where it is known."""


def encode(remains: Remains) -> bytes:
    """Return the object to store."""
    return msgspec.msgpack.encode(remains)


def decode(data: bytes) -> Remains:
    """Return what `encode` encoded; raise DataError for anything else."""
    try:
        if msgspec.msgpack.decode(data, type=_Header).format != FORMAT:
            raise DataError(
                "The remains of the job were written by another version of mrcore. Use that one."
            )
        return msgspec.msgpack.decode(data, type=Remains)
    except UNREADABLE as error:
        raise DataError(
            f"The remains of the job cannot be read ({error}). Run the job again."
        ) from error


class _Header(msgspec.Struct):
    format: int
