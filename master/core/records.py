"""Records of jobs, stages and tasks: what the journal says of each.

These are plain structs that compare and encode. Only `durable` changes them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mrcore.master.core.facts import Tally
from mrcore.model.calls import CallPlan
from mrcore.model.commit_plan import CommitPlan
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobSpec, JobState
from mrcore.model.stages import Part, Result, Run, Splits, StagePlan, task_name
from mrcore.model.task import FailureKind, Mark, Skip, TaskFailure, TaskOutput

SAME_ERROR_MAX: Final = 2
"""Attempts that raise the same error at the same place before it is certain to come again."""


class FailedAttempt(msgspec.Struct, frozen=True, array_like=True):
    """A failure that has been counted."""

    number: AttemptNumber
    worker_id: str


class Culprit(msgspec.Struct, array_like=True):
    """Count of attempts that raised or died at one record."""

    mark: Mark
    count: int


class RaisedError(msgspec.Struct, array_like=True):
    """Count of attempts of a task that raised one error at one place."""

    fingerprint: str
    count: int


class TaskRecord(msgspec.Struct, omit_defaults=True):
    """One task: who won it, and what went wrong."""

    winner: AttemptNumber | None = None
    worker_id: str = ""
    """Worker of the winner."""
    output: TaskOutput | None = None
    """Output of the winner."""
    digest: bytes | None = None
    """Digest of the newest winner, present or lost: a re-run that differs revokes its readers."""
    failures: int = 0
    """Failures by the user's code or its data, since a record was last given up for skipping."""
    infrastructure: int = 0
    losses: int = 0
    raised: int = 0
    """Times that the function of a call has raised."""
    failed: list[FailedAttempt] = []
    last_failure: TaskFailure | None = None
    same_data: int = 0
    """Failures in a row by the data, with the same words."""
    raised_errors: list[RaisedError] = []
    """Errors that the user's code raised in a task of a stage, oldest first."""
    mark_records: bool = False
    culprits: list[Culprit] = []
    skip: tuple[Skip, ...] = ()

    @property
    def same_error(self) -> bool:
        """Return whether an error has been raised at one place often enough to be certain."""
        return any(raised.count >= SAME_ERROR_MAX for raised in self.raised_errors)

    def counted(self, number: AttemptNumber) -> bool:
        """Return whether this attempt's failure has been counted already."""
        return any(failed.number == number for failed in self.failed)


class StageRecord(msgspec.Struct):
    """The tasks of one stage, and sums over their current winners."""

    plan: StagePlan
    name: str
    """As people see it, such as `map` or `step2-reduce`."""
    tasks: list[TaskRecord]
    version: int = 0
    """Version of what it reads that is current: a result counts only if it read this."""
    started: int = 0
    """Attempts started by its newest result, for any reason."""
    completed: int = 0
    records_in: int = 0
    records_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    elapsed_seconds: float = 0.0
    """Since floats do not subtract exactly, this one is for display only."""
    class_a: int = 0
    """Storage operations that write or list."""
    class_b: int = 0
    """Storage operations that read."""
    skew: str = ""
    """Sentence on the task that has far more to read than the others, once that is known."""

    @property
    def complete(self) -> bool:
        """Return whether every task has a winner."""
        return self.completed == len(self.tasks)


class CallFailure(msgspec.Struct, frozen=True, array_like=True):
    """The reason why a call has no value."""

    failure: TaskFailure
    cancelled: bool = False


class CallsRecord(msgspec.Struct):
    """The calls of a session: each is added, ends, and is released."""

    plans: dict[int, CallPlan] = {}
    """Calls that have not ended."""
    ended: dict[int, CallFailure | None] = {}
    """Calls that have ended and are not released, in the order of their ends; None where the task
    has a value."""
    needed: dict[int, int] = {}
    """Number of calls that have not ended and take the value of this one."""
    retained: dict[int, None] = {}
    """Released calls whose values are needed."""
    added: int = 0
    failed: int = 0
    cancelled: int = 0
    closed: bool = False
    kept_bytes: int = 0
    """Memory that arguments, values and failures take, more or less."""

    @property
    def empty(self) -> bool:
        """Return whether nothing is left of the calls: all are released, and no value is kept."""
        return not (self.plans or self.ended or self.retained)

    def has_value(self, index: int) -> bool:
        """Return whether the value of a call is there to be taken."""
        return index in self.retained or self.ended.get(index, _NO_VALUE) is None

    def may_have_value(self, index: int) -> bool:
        """Return whether the value of a call is there, or may come."""
        return index in self.plans or self.has_value(index)


_NO_VALUE: Final = CallFailure(TaskFailure(kind=FailureKind.USER, message=""))


class RecentFailure(msgspec.Struct, frozen=True):
    """A failed attempt, for display."""

    attempt: AttemptId
    worker_id: str
    failure: TaskFailure


class JobRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One job, live or ended."""

    job_id: str
    request_id: str
    spec: JobSpec
    claim_generation: str
    input_bytes: int
    submitted_seconds: float
    serial: int
    """Counts submissions: older jobs first where nothing else decides."""
    stages: list[StageRecord]
    state: JobState = JobState.RUNNING
    waits_for: list[str] = []
    """Jobs of `spec.after` that have not succeeded."""
    cancel_reason: str | None = None
    commit_plan: CommitPlan | None = None
    failure: TaskFailure | None = None
    failed_task: TaskId | None = None
    message: str = ""
    ended_seconds: float = 0.0
    tally: Tally = Tally()
    cleaned: bool = False
    counters: dict[str, int] = {}
    counts: int = 0
    """Counters of each current winner, summed up."""
    result_bytes: int = 0
    """Bytes of the results of the current winners."""
    block_bytes: int = 0
    """Memory of the blocks' keys of the current winners, more or less."""
    bad_records: int = 0
    open_skips: int = 0
    """Records that tasks without a winner have leave to skip."""
    won: int = 0
    failed: int = 0
    infrastructure: int = 0
    recent_failures: list[RecentFailure] = []
    traced: list[TaskId] = []
    """Tasks whose last failure is kept whole, oldest first."""
    calls: CallsRecord | None = None
    """Calls of a session; None for any other job."""
    resumes: tuple[str, ...] = ()
    """Former jobs that it goes on with: their temporaries are its own."""
    continued: bool = False
    """Whether a job that goes on with this one has succeeded, and removes its temporaries."""
    kept_bytes: int = 0
    """Memory that it takes since it has ended, more or less."""

    def task(self, task: TaskId) -> TaskRecord:
        """Return one task."""
        return self.stages[task.stage].tasks[task.index]

    def task_name(self, task: TaskId) -> str:
        """Return the name of a task as people see it, such as `map-00003`."""
        return task_name(self.stages[task.stage].name, task.index)

    def count_failure(self, failed: RecentFailure, most: int) -> None:
        """Count a failed attempt, and keep the newest `most` of them."""
        self.recent_failures.append(failed)
        del self.recent_failures[:-most]
        if failed.failure.kind is FailureKind.INFRASTRUCTURE:
            self.infrastructure += 1
        else:
            self.failed += 1

    def readers(self, stage: int) -> tuple[int, ...]:
        """Return the numbers of the stages that read what a stage writes."""
        return tuple(n for n, other in enumerate(self.stages) if stage in other.plan.inputs)

    def partitions(self, stage: int) -> int:
        """Return the number of tasks that read each run of a stage; 0 where none does."""
        readers = self.readers(stage)
        return len(self.stages[readers[0]].tasks) if readers else 0

    def readable(self, stage: int) -> bool:
        """Return whether all that a stage reads is complete, so that its tasks may start."""
        inputs = self.stages[stage].plan.inputs
        return not inputs or all(self.stages[number].complete for number in inputs)

    def totally_ordered(self, stage: int) -> bool:
        """Return whether the runs that a stage reads are cut by key ranges."""
        writes = [self.stages[number].plan.writes for number in self.stages[stage].plan.inputs]
        return any(isinstance(each, Run) and each.total_order for each in writes)

    @property
    def part_stage(self) -> int | None:
        """Return the number of the stage whose outputs become the parts; None where none does."""
        return next((n for n, s in enumerate(self.stages) if isinstance(s.plan.writes, Part)), None)

    @property
    def results(self) -> tuple[TaskOutput, ...]:
        """Return what the tasks leave for the caller of a job that succeeded, by index.

        Each has the bytes in `result`, or in `object` where they are more.
        """
        return tuple(
            task.output or TaskOutput()
            for stage in self.stages
            if isinstance(stage.plan.writes, Result)
            for task in stage.tasks
        )

    @property
    def input_records(self) -> int:
        """Return the records of the job's input that have been read."""
        return sum(s.records_in for s in self.stages if isinstance(s.plan.reads, Splits))

    @property
    def records_read(self) -> int | None:
        """Return the number of all records of the input, with those that were skipped.

        None while some are yet to be read.
        """
        if not all(s.complete for s in self.stages if isinstance(s.plan.reads, Splits)):
            return None
        return self.input_records + self.bad_records

    @property
    def complete(self) -> bool:
        """Return whether every task of every stage has a winner."""
        return all(stage.complete for stage in self.stages)

    @property
    def task_count(self) -> int:
        """Return the number of tasks of all stages."""
        return sum(len(stage.tasks) for stage in self.stages)
