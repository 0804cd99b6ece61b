"""Decisions of the committer, without its I/O: whether a command still stands, and its answer.

The committer and the simulator share these functions. Every command has an answer, also one that
was overtaken: the machine may wait for it, and would wait for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, assert_never

import msgspec

from mrcore.master.core.commands import (
    CheckWinner,
    CleanUp,
    DeleteValues,
    PlanJob,
    PrepareCommit,
    RunCommit,
)
from mrcore.master.core.ended import keeps_temporaries, leaves_remains, remains_of
from mrcore.master.core.events import (
    CleanedUp,
    CommitFinished,
    CommitPrepared,
    CommitRefused,
    Event,
    JobBroken,
    NothingDone,
    Planned,
    WinnerMissing,
)
from mrcore.master.core.records import JobRecord
from mrcore.master.core.views import stage_views
from mrcore.model.commit_plan import CommitPlan
from mrcore.model.ids import AttemptId, TaskId
from mrcore.model.job import JobState
from mrcore.model.remains import Remains
from mrcore.model.snapshots import StageView
from mrcore.model.stages import StagePlan, task_name
from mrcore.model.task import BadRecord, TaskOutput

if TYPE_CHECKING:
    from mrcore.master.core.cluster import Cluster
    from mrcore.storage.base import ObjectInfo

Job = PlanJob | PrepareCommit | RunCommit | CleanUp | CheckWinner | DeleteValues


class Planning(msgspec.Struct, frozen=True):
    """Input to list and cut, of a job that has waited for others."""

    job: JobRecord

    def planned(self, stages: tuple[StagePlan, ...], input_bytes: int) -> Planned:
        """Return the answer once the plan is stored."""
        return Planned(job_id=self.job.job_id, stages=stages, input_bytes=input_bytes)


class Preparation(msgspec.Struct, frozen=True):
    """Claim and staged parts to verify, before a commit."""

    job: JobRecord
    attempts: tuple[AttemptId, ...]
    """Winners whose outputs become the parts, by index."""
    parts: list[TaskOutput]
    skipped: Mapping[str, tuple[BadRecord, ...] | ObjectInfo]
    """Bad records of each task that has any, by the task's name, or the object with them."""
    skippers: Mapping[str, AttemptId]
    """Winners that have skipped these, by the task's name."""
    started: int
    """Attempts of the job, for its receipt."""
    stages: tuple[StageView, ...]
    """Figures of its stages, for its receipt."""

    def prepared(self, plan: CommitPlan, wall: float) -> CommitPrepared:
        """Return the answer once everything is in its place."""
        return CommitPrepared(self.job.job_id, plan, wall)

    def lost(self, indexes: Iterable[int], message: str, wall: float) -> CommitRefused:
        """Return the answer where some staged parts are gone."""
        lost = tuple(self.attempts[index] for index in indexes)
        return CommitRefused(self.job.job_id, message, lost, wall)

    def lost_lists(self, tasks: Iterable[str], message: str, wall: float) -> CommitRefused:
        """Return the answer where stored lists of bad records are gone."""
        lost = tuple(self.skippers[task] for task in tasks)
        return CommitRefused(self.job.job_id, message, lost, wall)


class Publication(msgspec.Struct, frozen=True):
    """Parts to publish under their final names."""

    job: JobRecord
    attempts: tuple[AttemptId, ...]
    parts: list[TaskOutput]
    plan: CommitPlan

    def published(self, wall: float) -> CommitFinished:
        """Return the answer once all parts and the receipt are visible."""
        return CommitFinished(self.job.job_id, wall)


class Cleaning(msgspec.Struct, frozen=True):
    """Temporaries and claim of an ended job, to be deleted."""

    job: JobRecord

    @property
    def keeps_runs(self) -> bool:
        """Return whether the job keeps its runs, for those who go on with it or replay a task."""
        return keeps_temporaries(self.job)

    def remains(self) -> Remains | None:
        """Return the remains to store, of a job that somebody may go on with."""
        return remains_of(self.job) if leaves_remains(self.job) else None

    def cleaned(self) -> CleanedUp:
        """Return the answer once they are gone."""
        return CleanedUp(self.job.job_id)


class WinnerLookup(msgspec.Struct, frozen=True):
    """A winner's run to look for."""

    command: CheckWinner
    run: ObjectInfo

    def seen(self, generation: str | None) -> WinnerMissing | NothingDone:
        """Return the answer for the generation that is there, or None where there is none."""
        if generation == self.run.generation:
            return NothingDone(self.command)
        return WinnerMissing(self.command.attempt)


class Deletion(msgspec.Struct, frozen=True):
    """Values of calls to delete."""

    command: DeleteValues

    def deleted(self) -> NothingDone:
        """Return the answer, whatever could be deleted."""
        return NothingDone(self.command)


Order = Planning | Preparation | Publication | Cleaning | WinnerLookup | Deletion


def order(cluster: Cluster, command: Job) -> Order | NothingDone:
    """Return what a command asks for now; `NothingDone` where it was overtaken."""
    found: Order | None
    match command:
        case PlanJob():
            found = _planning(cluster, command)
        case PrepareCommit():
            found = _preparation(cluster, command)
        case RunCommit():
            found = _publication(cluster, command)
        case CleanUp():
            job = cluster.job(command.job_id)
            found = None if job is None else Cleaning(job)
        case CheckWinner():
            found = _winner_lookup(cluster, command)
        case DeleteValues():
            found = Deletion(command)
        case _:
            assert_never(command)
    return NothingDone(command) if found is None else found


def failed(command: Job, message: str, wall: float) -> Event:
    """Return the answer to a command that could not be obeyed."""
    if isinstance(command, PlanJob):
        return JobBroken(command.job_id, message)
    if isinstance(command, PrepareCommit | RunCommit):
        return CommitRefused(command.job_id, message, wall_seconds=wall)
    return NothingDone(command)  # a later master or `mrcore gc` cleans up; readers report again


def _planning(cluster: Cluster, command: PlanJob) -> Planning | None:
    job = cluster.job(command.job_id)
    if job is None or job.state is not JobState.WAITING:
        return None
    return Planning(job)


def _preparation(cluster: Cluster, command: PrepareCommit) -> Preparation | None:
    job, live = cluster.job(command.job_id), cluster.jobs.get(command.job_id)
    if job is None or job.state is not JobState.RUNNING or not job.complete:
        return None  # a winner was lost since
    attempts, parts = _parts(job)
    skipped, skippers = {}, {}
    for number, stage in enumerate(job.stages):
        for index, task in enumerate(stage.tasks):
            if task.output is None or task.winner is None or not task.output.skipped:
                continue
            name = task_name(stage.name, index)
            skipped[name] = task.output.saved_bad_records
            skippers[name] = AttemptId(TaskId(job.job_id, number, index), task.winner)
    started = job.won if live is None else live.tally.started
    return Preparation(job, attempts, parts, skipped, skippers, started, stage_views(job, live))


def _publication(cluster: Cluster, command: RunCommit) -> Publication | None:
    job = cluster.job(command.job_id)
    if job is None or job.state is not JobState.COMMITTING:
        return None
    assert job.commit_plan is not None
    return Publication(job, *_parts(job), job.commit_plan)


def _winner_lookup(cluster: Cluster, command: CheckWinner) -> WinnerLookup | None:
    attempt = command.attempt
    job = cluster.job(attempt.task.job_id)
    if job is None or job.state.final:
        return None
    record = job.task(attempt.task)
    if record.winner != attempt.number or record.output is None or record.output.object is None:
        return None
    return WinnerLookup(command, record.output.object)


def _parts(job: JobRecord) -> tuple[tuple[AttemptId, ...], list[TaskOutput]]:
    """Return the winners and outputs that become the parts of a job that is complete."""
    stage = job.part_stage
    attempts, parts = [], []
    for index, task in enumerate(() if stage is None else job.stages[stage].tasks):
        assert stage is not None
        assert task.winner is not None, f"{job.job_id} lacks winners"
        assert task.output is not None, f"{job.job_id} lacks winners"
        attempts.append(AttemptId(TaskId(job.job_id, stage, index), task.winner))
        parts.append(task.output)
    return tuple(attempts), parts
