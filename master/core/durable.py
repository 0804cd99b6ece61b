"""The durable state of the master: built from facts alone, the same live and in replay.

These are plain structs that compare and encode, so that a replay can be checked against the live
state. Nothing here knows of workers, leases or time; `volatile` has that half.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from mrcore.master.core import blame, durable_calls
from mrcore.master.core.ended import (
    brief,
    leaves_remains,
    lighten,
    weigh_whole,
    weight_of_blocks,
    without_bytes,
)
from mrcore.master.core.facts import (
    AttemptFailed,
    CallFailed,
    CallsAdded,
    CallsCancelled,
    CallsReleased,
    CancelRequested,
    CommitBegun,
    EpochTaken,
    Fact,
    JobCleaned,
    JobEnded,
    JobPlanned,
    JobSubmitted,
    ResultsKept,
    SessionClosed,
    StageRevoked,
    Tally,
    TaskWon,
    WinnerLost,
    WorkerJoined,
    WorkersLeft,
)
from mrcore.master.core.limits import Limits
from mrcore.master.core.records import (
    CallsRecord,
    FailedAttempt,
    JobRecord,
    RecentFailure,
    StageRecord,
    TaskRecord,
)
from mrcore.model import skew
from mrcore.model.ids import TaskId
from mrcore.model.job import JobState
from mrcore.model.stages import StagePlan, stage_names
from mrcore.model.task import FailureKind


class Durable(msgspec.Struct):
    """State that the journal's facts make up."""

    epoch: int = 0
    epochs: list[int] = []
    """Numbers of the entries that took an epoch: these are never deleted."""
    serial: int = 0
    jobs: dict[str, JobRecord] = {}
    """In the order of submission."""
    requests: dict[str, str] = {}
    """Jobs by the submissions that made them."""
    ended: list[str] = []
    """Oldest first."""
    ended_tasks: int = 0
    workers: dict[str, None] = {}
    """Workers that may hold attempts, as far as the facts show."""
    ended_bytes: int = 0
    """Memory that the ended jobs take, more or less."""

    def apply(self, fact: Fact, limits: Limits) -> None:  # noqa: C901 - one case a fact
        """Take one fact in. A fact that does not fit what is known is an AssertionError."""
        match fact:
            case EpochTaken():
                assert fact.epoch > self.epoch, f"epoch {fact.epoch} after {self.epoch}"
                self.epoch = fact.epoch
                self.epochs.append(fact.epoch)
            case JobSubmitted():
                self._submit(fact)
            case ResultsKept():
                self._keep(fact)
            case JobPlanned():
                self._plan(fact)
            case TaskWon():
                self._win(fact)
            case WinnerLost():
                self._lose(fact)
            case StageRevoked():
                self._revoke(fact)
            case CallsAdded() | CallFailed() | CallsCancelled() | CallsReleased() | SessionClosed():
                durable_calls.apply(self.jobs, fact, limits)
            case WorkerJoined():
                self.workers[fact.worker_id] = None
            case WorkersLeft():
                for worker_id in fact.worker_ids:
                    self.workers.pop(worker_id, None)
            case AttemptFailed():
                self.workers[fact.worker_id] = None
                _fail(self._running(fact.attempt.task.job_id), fact, limits)
            case CancelRequested():
                job = self.jobs[fact.job_id]
                assert job.state in (JobState.WAITING, JobState.RUNNING)
                job.cancel_reason = fact.reason
            case CommitBegun():
                job = self._running(fact.job_id)
                assert job.complete, f"{fact.job_id} commits without all its winners"
                job.state = JobState.COMMITTING
                job.commit_plan = fact.plan
            case JobEnded():
                self._end(fact, limits)
            case JobCleaned():
                if fact.job_id in self.jobs:  # it may have been forgotten meanwhile
                    self._clean(self.jobs[fact.job_id], fact, limits)
            case _:
                assert_never(fact)

    def _running(self, job_id: str) -> JobRecord:
        job = self.jobs[job_id]
        assert job.state is JobState.RUNNING, f"{job_id} is {job.state}"
        return job

    def _submit(self, fact: JobSubmitted) -> None:
        assert fact.job_id not in self.jobs, f"{fact.job_id} submitted twice"
        self.serial += 1
        self.requests[fact.request_id] = fact.job_id
        assert not (fact.spec.after and fact.stages), f"{fact.job_id} waits, and is planned"
        self.jobs[fact.job_id] = JobRecord(
            job_id=fact.job_id,
            request_id=fact.request_id,
            spec=fact.spec,
            claim_generation=fact.claim_generation,
            input_bytes=fact.input_bytes,
            submitted_seconds=fact.wall_seconds,
            serial=self.serial,
            stages=_stage_records(fact.stages),
            state=JobState.WAITING if fact.spec.after else JobState.RUNNING,
            waits_for=[other for other in fact.spec.after if not self._succeeded(other)],
            calls=None if fact.spec.session is None else CallsRecord(),
            resumes=fact.resumes,
        )

    def _keep(self, fact: ResultsKept) -> None:
        job = self._running(fact.job_id)
        assert job.resumes, f"{fact.job_id} resumes no job"
        for kept in fact.results:
            task = job.stages[kept.stage].tasks[kept.index]
            assert task.winner is None, f"{fact.job_id} has a result of task {kept.index} twice"
            task.winner, task.worker_id, task.output = kept.winner, kept.worker_id, kept.output
            task.digest = kept.output.digest
            _add(job, kept.stage, task, 1)

    def _succeeded(self, job_id: str) -> bool:
        return job_id in self.jobs and self.jobs[job_id].state is JobState.SUCCEEDED

    def _plan(self, fact: JobPlanned) -> None:
        job = self.jobs[fact.job_id]
        assert job.state is JobState.WAITING, f"{fact.job_id} is {job.state}"
        assert not job.waits_for, f"{fact.job_id} is planned before {job.waits_for}"
        job.state = JobState.RUNNING
        job.stages = _stage_records(fact.stages)
        job.input_bytes = fact.input_bytes

    def _win(self, fact: TaskWon) -> None:
        job = self._running(fact.attempt.task.job_id)
        task = job.task(fact.attempt.task)
        assert task.winner is None, f"{fact.attempt.task} won twice"
        task.winner = fact.attempt.number
        task.worker_id = fact.worker_id
        task.output = fact.output
        # It may hold more, even where its leases had ended before (64_won_while_queued).
        self.workers[fact.worker_id] = None
        task.digest = fact.output.digest
        task.raised_errors = []  # they have passed
        job.won += 1
        _count(job, fact.attempt.task.stage, fact.tally)
        _add(job, fact.attempt.task.stage, task, 1)
        if job.calls is not None:
            durable_calls.win(self.jobs, job, fact.attempt.task.index)

    def _lose(self, fact: WinnerLost) -> None:
        job = self._running(fact.attempt.task.job_id)
        task = job.task(fact.attempt.task)
        assert task.winner == fact.attempt.number, f"{fact.attempt} is not the winner"
        _unwin(job, fact.attempt.task.stage, task)
        task.losses += 1

    def _revoke(self, fact: StageRevoked) -> None:
        job = self._running(fact.job_id)
        stage = job.stages[fact.stage]
        assert fact.version == stage.version + 1
        stage.version = fact.version
        for task in stage.tasks:
            if task.winner is not None:
                _unwin(job, fact.stage, task)

    def _end(self, fact: JobEnded, limits: Limits) -> None:
        job = self.jobs[fact.job_id]
        assert not job.state.final, f"{fact.job_id} ended twice"
        assert fact.state.final
        job.state = fact.state
        job.failure = fact.failure
        job.failed_task = fact.failed_task
        job.message = fact.message
        job.ended_seconds = fact.wall_seconds
        job.tally = fact.tally
        if fact.state is JobState.SUCCEEDED:
            for other in self.jobs.values():
                if fact.job_id in other.waits_for:
                    other.waits_for.remove(fact.job_id)
            for former in job.resumes:
                if former in self.jobs:
                    self.jobs[former].continued = True
        job.waits_for = []
        if job.calls is not None:
            durable_calls.drop(self.jobs, job)
        if leaves_remains(job):
            weigh_whole(job)
        else:
            lighten(job, limits)
        self.ended.append(fact.job_id)
        self.ended_tasks += job.task_count
        self.ended_bytes += job.kept_bytes
        self._forget_oldest(limits)

    def _clean(self, job: JobRecord, fact: JobCleaned, limits: Limits) -> None:
        if fact.again:
            job.cleaned = False
            return
        if leaves_remains(job):
            self.ended_bytes -= job.kept_bytes
            lighten(job, limits)
            self.ended_bytes += job.kept_bytes
        job.cleaned = True
        self._forget_oldest(limits)

    def _forget_oldest(self, limits: Limits) -> None:
        """Forget ended jobs, the oldest first, until the others are within the limits."""
        while len(self.ended) > limits.ended_jobs_max or (
            len(self.ended) > 1
            and (
                self.ended_tasks > limits.ended_tasks_max
                or self.ended_bytes > limits.ended_bytes_max
            )
        ):
            gone = self.jobs.pop(self.ended.pop(0))
            self.ended_tasks -= gone.task_count
            self.ended_bytes -= gone.kept_bytes
            self.requests.pop(gone.request_id, None)


def _stage_records(plans: tuple[StagePlan, ...]) -> list[StageRecord]:
    for number, plan in enumerate(plans):
        assert all(read < number for read in plan.inputs), "a stage reads only earlier ones"
    names = stage_names(plan.reads for plan in plans)
    return [
        StageRecord(plan, name, [TaskRecord() for _ in range(plan.tasks)])
        for plan, name in zip(plans, names, strict=True)
    ]


def _skew(job: JobRecord, reader: int) -> str:
    """Return the sentence on a stage whose tasks may read all their runs now."""
    read = [job.stages[number] for number in job.stages[reader].plan.inputs]
    outputs = [task.output for stage in read for task in stage.tasks if task.output is not None]
    runs = [output.section_bytes for output in outputs if output.section_bytes]
    keys = [output.heavy_key for output in outputs if output.heavy_key is not None]
    pairs = sum(stage.records_out for stage in read)
    return skew.sentence(job.stages[reader].name, runs, keys, pairs)


def _add(job: JobRecord, stage: int, task: TaskRecord, sign: int) -> None:
    """Add a winner to the job's sums, or take it out again: they are over current winners."""
    output = task.output
    assert output is not None
    sums = job.stages[stage]
    sums.completed += sign
    sums.records_in += sign * output.records_in
    sums.records_out += sign * output.records_out
    sums.bytes_in += sign * output.bytes_in
    sums.bytes_out += sign * output.bytes_out
    sums.elapsed_seconds += sign * output.elapsed_seconds
    sums.class_a += sign * output.class_a
    sums.class_b += sign * output.class_b
    job.bad_records += sign * output.skipped
    if job.calls is None:
        job.open_skips -= sign * len(task.skip)
    job.counts += sign * len(output.counters)
    if sign > 0 and sums.complete:
        for reader in job.readers(stage):
            if job.readable(reader):
                job.stages[reader].skew = _skew(job, reader)
    job.result_bytes += sign * len(output.result)
    job.block_bytes += sign * weight_of_blocks(output)
    for name, value in output.counters.items():
        total = job.counters.get(name, 0) + sign * value
        if total or sign > 0:
            job.counters[name] = total
        else:
            del job.counters[name]


def _count(job: JobRecord, stage: int, tally: Tally) -> None:
    """Take in the counts of a running job."""
    job.tally = tally
    job.stages[stage].started = tally.stage_started


def _unwin(job: JobRecord, stage: int, task: TaskRecord) -> None:
    _add(job, stage, task, -1)
    task.winner = None
    task.worker_id = ""
    task.output = None


def _fail(job: JobRecord, fact: AttemptFailed, limits: Limits) -> None:
    task = job.task(fact.attempt.task)
    _count(job, fact.attempt.task.stage, fact.tally)
    task.failed.append(FailedAttempt(fact.attempt.number, fact.worker_id))
    del task.failed[: -limits.failed_attempts_max]
    failure = without_bytes(fact.failure)
    recent = RecentFailure(fact.attempt, fact.worker_id, failure)
    job.count_failure(recent, limits.recent_failures_max)
    last, task.last_failure = task.last_failure, failure
    _trace(job, fact.attempt.task, limits)
    if failure.kind is FailureKind.INFRASTRUCTURE:
        task.infrastructure += 1
        return
    if job.calls is not None and failure.kind is FailureKind.USER and not failure.died:
        if failure.mark is None:
            task.raised += 1
        else:
            blame.count(job, task, failure.mark, fact.failure, limits)
        return
    task.failures += 1
    if failure.kind is FailureKind.DATA:
        repeated = last is not None and last.message == failure.message
        task.same_data = task.same_data + 1 if repeated else 1
    if job.calls is None and (failure.died or blame.may_be_given_up(job, failure)):
        task.mark_records = True
    if failure.mark is not None:
        blame.count(job, task, failure.mark, fact.failure, limits)
    # A job that may skip records goes its own way with them (42_record_that_raises).
    if failure.fingerprint and not (failure.mark is not None and job.spec.max_bad_records):
        blame.count_error(task, failure.fingerprint, limits)


def _trace(job: JobRecord, task_id: TaskId, limits: Limits) -> None:
    """Keep the newest failures whole: each may have a long traceback, and tasks are many."""
    if task_id in job.traced:
        job.traced.remove(task_id)
    job.traced.append(task_id)
    if len(job.traced) > limits.last_failures_max:
        old = job.task(job.traced.pop(0))
        if old.last_failure is not None:
            old.last_failure = brief(old.last_failure)
