"""The master's brain: `step(event, now)` returns facts and commands, and does nothing else.

It reads no clock, draws no number but from the generator it was given, and never waits. What
happened comes in as an event; what must be remembered goes out as a fact, what must be done as a
command, in that order of durability. Time passes only in `Ticked`: whatever was received is stepped
before anything expires.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from mrcore.master.core.calls import Calls
from mrcore.master.core.cluster import Cluster, Outcome
from mrcore.master.core.commands import (
    CleanUp,
    PlanJob,
    RunCommit,
)
from mrcore.master.core.commits import Commits
from mrcore.master.core.events import (
    CallsDone,
    CallsSent,
    CallsUnwanted,
    CancelAsked,
    CleanedUp,
    CloseAsked,
    CommitFinished,
    CommitPrepared,
    CommitRefused,
    DrainAsked,
    Event,
    JobBroken,
    NothingDone,
    Planned,
    Stalled,
    Submitted,
    Synced,
    Ticked,
    WinnerMissing,
)
from mrcore.master.core.facts import (
    CancelRequested,
    JobPlanned,
    JobSubmitted,
    ResultsKept,
)
from mrcore.master.core.parking import Parking
from mrcore.master.core.reports import Reports
from mrcore.master.core.results import Results
from mrcore.master.core.scheduler import Scheduler
from mrcore.master.core.views import why_never_planned
from mrcore.master.core.volatile import LiveJob
from mrcore.master.core.watchdog import Watchdog
from mrcore.model.ids import TaskId
from mrcore.model.job import JobState

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - the type only: a generator is always passed in

    from mrcore.master.core.durable import Durable
    from mrcore.master.core.facts import Fact
    from mrcore.master.core.limits import Limits

__all__ = ["Machine", "Outcome"]


class Machine:
    """The handlers of events, over a cluster, its scheduler and the accounting of its results.

    A master applies every fact of its journal, takes over, and then steps events one at a time.
    Code that only reads uses the cluster.
    """

    def __init__(
        self,
        limits: Limits,
        rng: Random,
        *,
        cluster: type[Cluster] = Cluster,
        parking: type[Parking] = Parking,
        scheduler: type[Scheduler] = Scheduler,
        results: type[Results] = Results,
        calls: type[Calls] = Calls,
        commits: type[Commits] = Commits,
        reports: type[Reports] = Reports,
    ) -> None:
        self.cluster = cluster(limits, rng)
        self.parking = parking(self.cluster)
        self.calls = calls(self.cluster)
        self.scheduler = scheduler(self.cluster, self.parking, self.calls)
        self.results = results(self.cluster, self.calls)
        self.commits = commits(self.cluster, self.results)
        self.reports = reports(self.cluster, self.parking, self.scheduler, self.results, self.calls)
        self.watchdog = Watchdog(self.cluster)

    def apply(self, fact: Fact) -> None:
        """Take in a fact of the journal, before this master acts."""
        self.cluster.apply(fact)

    def restore(self, durable: Durable) -> None:
        """Take the state of a snapshot, before this master acts."""
        self.cluster.restore(durable)

    def next_deadline(self) -> float | None:
        """Return when `Ticked` must be stepped at the latest, or None if only events matter."""
        return self.scheduler.next_deadline()

    def take_over(self, epoch: int, now: float, wall: float) -> Outcome:
        """Begin to act, once every fact up to this epoch's own `EpochTaken` has been applied."""
        cluster, known = self.cluster, self.cluster.durable.workers
        assert epoch == cluster.epoch, f"epoch {epoch} is not the applied one, {cluster.epoch}"
        cluster.begin(now)
        cluster.wall_offset = wall - now
        # Others may have joined while former masters waited for these
        # (test_a_master_awaits_no_more_former_workers_than_it_may_have).
        self.scheduler.dismiss(list(known)[: -cluster.limits.workers_max])
        for record in cluster.durable.jobs.values():
            if not record.state.final:
                self._admit(LiveJob(record))
            elif not record.cleaned:
                cluster.clean_up(record)
        for job in list(cluster.jobs.values()):
            self._resume(job)
        self._release_waiting()
        leases = [job.record.spec.lease_seconds for job in cluster.jobs.values() if job.running]
        if leases and known:  # else nobody runs anything (101_restart_before_the_first_worker)
            cluster.wait_until = now + max(leases)
            cluster.awaited = dict(known)
        else:
            self.scheduler.dismiss(known)
        return cluster.outcome

    def step(self, event: Event, now: float) -> Outcome:  # noqa: C901 - one case an event
        """Take in one event; return what to journal, and what to do once that is durable."""
        self.cluster.begin(now)
        match event:
            case Synced():
                self.reports.on_synced(event)
            case Submitted():
                self._on_submitted(event)
            case Planned():
                self._on_planned(event)
            case CancelAsked():
                self._on_cancel(event)
            case JobBroken():
                job = self.cluster.jobs.get(event.job_id)
                # What commits needs nothing but the store.
                if job is not None and (job.running or job.waiting):
                    self.cluster.end_job(job, JobState.FAILED, event.message)
            case CallsSent():
                self.calls.on_sent(event)
            case CallsUnwanted():
                self.calls.on_unwanted(event)
            case CallsDone():
                self.calls.on_done(event)
            case CloseAsked():
                self.calls.on_close(event)
            case DrainAsked():
                self.reports.on_drain(event)
            case WinnerMissing():
                self.commits.on_missing(event)
            case CommitPrepared():
                self.commits.on_prepared(event)
            case CommitFinished():
                self.commits.on_finished(event)
            case CommitRefused():
                self.commits.on_refused(event)
            case CleanedUp():
                self.cluster.on_clean_up_answered(event.job_id, done=True)
            case NothingDone(CleanUp() as command):
                self.cluster.on_clean_up_answered(command.job_id, done=False)
            case NothingDone():
                self.commits.on_nothing_done(event)
            case Stalled():
                self.scheduler.on_stalled(event.seconds)
            case Ticked():
                self.scheduler.on_ticked(event)
            case _:
                assert_never(event)
        self._release_waiting()
        self.scheduler.settle()
        self.watchdog.look()
        return self.cluster.outcome

    def check(self) -> None:
        """Assert every invariant of `invariants`. Slow: for tests and simulations."""
        from mrcore.master.core.invariants import check
        from mrcore.master.core.invariants_calls import check_waits

        check(self.cluster)
        check_waits(self.calls)

    # -- jobs ------------------------------------------------------------------------------------

    def _on_submitted(self, event: Submitted) -> None:
        durable = self.cluster.durable
        self.cluster.wall_offset = event.wall_seconds - self.cluster.now
        if event.request_id in durable.requests or event.job_id in durable.jobs:
            return
        self.cluster.record(
            JobSubmitted(
                job_id=event.job_id,
                request_id=event.request_id,
                spec=event.spec,
                stages=event.stages,
                claim_generation=event.claim_generation,
                input_bytes=event.input_bytes,
                wall_seconds=event.wall_seconds,
                resumes=event.resumes,
            )
        )
        # A journal that ends between the two loses work, and no result (87_resumed_job).
        if event.kept:
            self.cluster.record(ResultsKept(event.job_id, event.kept))
        job = LiveJob(durable.jobs[event.job_id])
        self._admit(job)
        self._plan_or_advance(job)

    def _plan_or_advance(self, job: LiveJob) -> None:
        if job.waiting:
            self._plan_or_fail(job)
        else:
            self.results.advance(job)

    def _admit(self, job: LiveJob) -> None:
        """Queue what has no winner."""
        record = job.record
        self.cluster.jobs[record.job_id] = job
        if record.calls is not None:
            self.calls.admit(job)
            return
        for stage in job.stages:
            for index, task in enumerate(record.stages[stage.number].tasks):
                if task.winner is None:
                    self.cluster.enqueue(job, TaskId(record.job_id, stage.number, index))
                else:
                    assert task.output is not None
                    stage.durations.add(task.output.elapsed_seconds)

    def _resume(self, job: LiveJob) -> None:
        """Go on where the former master stopped, be it between two facts of one step."""
        record = job.record
        if record.state is JobState.COMMITTING:
            self.cluster.command(RunCommit(record.job_id))
            return
        if record.cancel_reason is not None:
            self.cluster.end_job(job, JobState.CANCELLED, record.cancel_reason)
            return
        if record.calls is not None:
            self.calls.resume(job)
            return
        for stage in job.stages:
            for index in range(len(stage.tasks)):
                if self.results.check_budgets(job, TaskId(record.job_id, stage.number, index)):
                    return
        self._plan_or_advance(job)

    def _on_cancel(self, event: CancelAsked) -> None:
        job = self.cluster.jobs.get(event.job_id)
        if job is not None and (job.running or job.waiting):
            self.cluster.record(CancelRequested(event.job_id, event.reason))
            self.cluster.end_job(job, JobState.CANCELLED, event.reason)

    def _plan_or_fail(self, job: LiveJob) -> None:
        """Have a waiting job planned once nothing is left to wait for.

        It fails where a job that it waits for did not succeed, or is not known any more. Several
        masters may ask for one plan: the first that is stored is the plan.
        (scenario: 70_jobs_after_each_other)
        """
        record = job.record
        for job_id in record.waits_for:
            other = self.cluster.job(job_id)
            if other is None or other.state.final:
                self.cluster.end_job(job, JobState.FAILED, why_never_planned(job_id, other))
                return
        if not record.waits_for and not job.planning:
            job.planning = True
            self.cluster.command(PlanJob(record.job_id))

    def _release_waiting(self) -> None:
        """Go on with the jobs that waited for one that has ended; one that fails ends others."""
        while self.cluster.ended:
            gone = self.cluster.ended.pop(0)
            record = self.cluster.job(gone)
            if record is not None and record.calls is not None:
                self.calls.on_session_ended(record)
            for job in list(self.cluster.jobs.values()):
                if job.waiting and gone in job.record.spec.after:
                    self._plan_or_fail(job)

    def _on_planned(self, event: Planned) -> None:
        job = self.cluster.jobs.get(event.job_id)
        if job is None or not job.planning:
            return  # it was cancelled meanwhile
        self.cluster.record(
            JobPlanned(job_id=event.job_id, stages=event.stages, input_bytes=event.input_bytes)
        )
        planned = LiveJob(job.record)
        self._admit(planned)
        self.results.advance(planned)
