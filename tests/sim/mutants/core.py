"""Mutants of the machine: leases, fences, numbers, queues, take-overs and resources."""

from __future__ import annotations

from functools import partial

import msgspec

from mrcore.master.core.cluster import Cluster
from mrcore.master.core.commits import Commits
from mrcore.master.core.events import NothingDone, Synced
from mrcore.master.core.facts import Fact, WinnerLost, WorkerJoined
from mrcore.master.core.machine import Machine, Outcome
from mrcore.master.core.parking import Parking
from mrcore.master.core.reports import Reports
from mrcore.master.core.results import Results
from mrcore.master.core.scheduler import Scheduler
from mrcore.master.core.volatile import Attempt, LiveJob, LiveStage, LiveTask, Worker
from mrcore.model.attempts import HeldAttempt
from mrcore.model.ids import AttemptNumber, TaskId
from mrcore.model.job import JobState
from tests.sim.mutants.results import (
    AnyErrorIsCertain,
    CertainErrorsTriedAgain,
    FinishedIsWanted,
    LateResultsRefused,
    LossesIgnored,
    NoAttemptFence,
    NoRevocation,
    NoVersionFence,
    PreemptionsCount,
    RepeatsCount,
    RevocationStops,
    VersionsStay,
)
from tests.sim.world.jobs import FAR
from tests.sim.world.scene import MakeMachine

Part = (
    type[Machine]
    | type[Scheduler]
    | type[Results]
    | type[Cluster]
    | type[Parking]
    | type[Commits]
    | type[Reports]
)


def machine_with(mutant: Part) -> MakeMachine:
    """Return what makes machines of which one part is a mutant."""
    if issubclass(mutant, Cluster):
        return partial(Machine, cluster=mutant)
    if issubclass(mutant, Parking):
        return partial(Machine, parking=mutant)
    if issubclass(mutant, Scheduler):
        return partial(Machine, scheduler=mutant)
    if issubclass(mutant, Results):
        return partial(Machine, results=mutant)
    if issubclass(mutant, Commits):
        return partial(Machine, commits=mutant)
    if issubclass(mutant, Reports):
        return partial(Machine, reports=mutant)
    return mutant


class NoLeases(Scheduler):
    """Never gives up a silent worker."""

    def _on_timer(self, worker: Worker) -> None:
        worker.lease_from = self.cluster.now
        super()._on_timer(worker)


class NoSessionFence(Reports):
    """Takes a new process, or the ghost of an old one, for the one it knows."""

    def _identify_worker(self, event: Synced) -> Worker | None:
        worker = self.cluster.workers.get(event.worker_id)
        if worker is None or worker.session == event.session:
            return super()._identify_worker(event)
        worker.session = event.session
        return worker


class NoSequenceFence(Reports):
    """Believes a late request as if it were the newest."""

    def _identify_worker(self, event: Synced) -> Worker | None:
        worker = self.cluster.workers.get(event.worker_id)
        if worker is None or worker.session != event.session:
            return super()._identify_worker(event)
        return worker


class NumbersOfOneEpoch(Cluster):
    """Counts attempts anew after each restart, without the epoch."""

    def _next_number(self) -> AttemptNumber:
        self.number += 1
        return AttemptNumber(1, self.number)


class NumbersReused(Cluster):
    """Comes back to a number after a while."""

    def _next_number(self) -> AttemptNumber:
        self.number += 1
        return AttemptNumber(self.epoch, 1 + self.number % 5)


class NoBackOffCap(Cluster):
    """Waits twice as long before every retry, for ever."""

    def back_off(self, task: LiveTask) -> float:
        task.retries += 1
        return 2.0**task.retries


class EarlyJob(LiveJob):
    """Opens the next stage as soon as no task of those before it is idle."""

    def serving(self) -> list[LiveStage]:
        """Return a stage too early."""
        stages = super().serving()
        if not stages or any(stage.ready for stage in stages):
            return stages
        return [*stages, *(stage for stage in self.stages if stage.ready)]


class StagesEarly(Machine):
    """Assigns tasks before all that they read have winners."""

    def _admit(self, job: LiveJob) -> None:
        super()._admit(EarlyJob(job.record))


class TakenBackAtOnce(Cluster):
    """Gives what it takes back to another before its worker has confirmed."""

    def take_back(self, attempt: Attempt, why: str) -> None:
        job = self.jobs[attempt.id.task.job_id]
        self.drop(attempt)
        self.requeue(job, attempt.id.task)


class BackOffsForgotten(Scheduler):
    """Loses the tasks that wait for their back-off to end."""

    def _release_backoffs(self) -> None:
        self.cluster.delayed.clear()


class LossesUnjournaled(Cluster):
    """Changes what is durable without a fact that says so."""

    def record(self, fact: Fact) -> None:
        if isinstance(fact, WinnerLost):
            self.apply(fact)
        else:
            super().record(fact)


class TasksForgotten(Cluster):
    """Does not queue a task again that was lost with its worker."""

    def requeue(self, job: LiveJob, task_id: TaskId, delay: float = 0.0) -> None:
        if delay == 0.0:
            super().requeue(job, task_id)


class ParksForEver(Parking):
    """Answers a parked request only when there is something to say."""

    def park(self, worker: Worker) -> None:
        super().park(worker)
        worker.answer_at = self.cluster.now + 10_000.0


class AnswersIgnored(Commits):
    """Waits for ever for the answer to a command that was overtaken."""

    def on_nothing_done(self, event: NothingDone) -> None:
        pass


class JoinsForgotten(Cluster):
    """Awaits those only, after a restart, whose attempts have ended before."""

    def record(self, fact: Fact) -> None:
        if not isinstance(fact, WorkerJoined):
            super().record(fact)


class NobodyAwaited(Machine):
    """Gives everything out at once after a restart."""

    def take_over(self, epoch: int, now: float, wall: float) -> Outcome:
        """Take over without a wait."""
        outcome = super().take_over(epoch, now, wall)
        self.cluster.wait_until = None
        self.cluster.awaited = {}
        return outcome


class ShortestLeaseAwaited(Machine):
    """Waits after a restart for the shortest lease of all jobs."""

    def take_over(self, epoch: int, now: float, wall: float) -> Outcome:
        """Take over with a short wait."""
        outcome = super().take_over(epoch, now, wall)
        jobs = [job.record.spec.lease_seconds for job in self.cluster.jobs.values() if job.running]
        if self.cluster.wait_until is not None:
            self.cluster.wait_until = now + min(jobs)
        return outcome


class YoungerAttemptsStay(Reports):
    """Has a worker kill what it runs because another one has just got the same task."""

    def _supersede_shorter(self, job: LiveJob, task: LiveTask, held: HeldAttempt) -> bool:
        return False


class WaitersForgotten(Machine):
    """Lets nobody know who waited that a job has ended."""

    def _release_waiting(self) -> None:
        self.cluster.ended.clear()


class WaitersHasty(Machine):
    """Plans a job when those that it waits for are there, and have not succeeded."""

    def _plan_or_fail(self, job: LiveJob) -> None:
        job.record.waits_for.clear()
        super()._plan_or_fail(job)


class CommitsForgotten(Machine):
    """Does not go on with a commit that the master before it has begun."""

    def _resume(self, job: LiveJob) -> None:
        if job.record.state is not JobState.COMMITTING:
            super()._resume(job)


class RoomIgnored(Scheduler):
    """Takes a worker that offers enough for one that has enough left."""

    def _next_job(self, worker: Worker, unfit: set[str]) -> LiveJob | None:
        reserved = worker.cpus_reserved, worker.memory_reserved
        worker.cpus_reserved = worker.memory_reserved = 0
        job = super()._next_job(worker, unfit)
        worker.cpus_reserved, worker.memory_reserved = reserved
        return job


class LabelsIgnored(Scheduler):
    """Gives a worker any task for which it is large enough."""

    def _next_job(self, worker: Worker, unfit: set[str]) -> LiveJob | None:
        about = worker.about
        worker.about = msgspec.structs.replace(about, labels=(*about.labels, FAR))
        job = super()._next_job(worker, unfit)
        worker.about = about
        return job


class RoomLeaks(Cluster):
    """Does not release what an attempt had reserved that is taken back."""

    def drop(self, attempt: Attempt) -> None:
        worker = self.workers[attempt.worker_id]
        reserved = worker.cpus_reserved, worker.memory_reserved
        super().drop(attempt)
        if attempt.taken_back:
            worker.cpus_reserved, worker.memory_reserved = reserved


MACHINES: tuple[Part, ...] = (
    NoLeases,
    NoSessionFence,
    NoSequenceFence,
    NoVersionFence,
    NoRevocation,
    VersionsStay,
    RevocationStops,
    NoAttemptFence,
    NumbersOfOneEpoch,
    NumbersReused,
    PreemptionsCount,
    RepeatsCount,
    CertainErrorsTriedAgain,
    AnyErrorIsCertain,
    NoBackOffCap,
    StagesEarly,
    LateResultsRefused,
    TakenBackAtOnce,
    FinishedIsWanted,
    BackOffsForgotten,
    LossesIgnored,
    LossesUnjournaled,
    TasksForgotten,
    ParksForEver,
    AnswersIgnored,
    JoinsForgotten,
    NobodyAwaited,
    ShortestLeaseAwaited,
    YoungerAttemptsStay,
    WaitersForgotten,
    WaitersHasty,
    CommitsForgotten,
    RoomIgnored,
    LabelsIgnored,
    RoomLeaks,
)
