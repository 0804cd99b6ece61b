"""The master's brain: `step(event, now)` returns facts and commands, and does nothing else.

It reads no clock, draws no number but from the generator it was given, and never waits. What
happened comes in as an event; what must be remembered goes out as a fact, what must be done as a
command, in that order of durability. Time passes only in `Ticked`: whatever was received is stepped
before anything expires.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from mrcore.master.core import resources
from mrcore.master.core.calls import Calls
from mrcore.master.core.cluster import Cluster, Outcome
from mrcore.master.core.commands import (
    CleanUp,
    PlanJob,
    PrepareCommit,
    Reply,
    RunCommit,
    StepDown,
    Superseded,
)
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
    CommitBegun,
    JobCleaned,
    JobPlanned,
    JobSubmitted,
    ResultsKept,
)
from mrcore.master.core.parking import Parking
from mrcore.master.core.results import Results
from mrcore.master.core.scheduler import Scheduler
from mrcore.master.core.views import why_never_planned
from mrcore.master.core.volatile import Attempt, LiveJob, LiveTask, Worker
from mrcore.master.core.watchdog import Watchdog
from mrcore.model.attempts import Assignment, AttemptState, HeldAttempt
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
    ) -> None:
        self.cluster = cluster(limits, rng)
        self.parking = parking(self.cluster)
        self.calls = calls(self.cluster)
        self.scheduler = scheduler(self.cluster, self.parking, self.calls)
        self.results = results(self.cluster, self.calls)
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
                cluster.command(CleanUp(record.job_id, record.state))
        for job in list(cluster.jobs.values()):
            self._resume(job)
        self._release_waiting()
        leases = [job.record.spec.lease_seconds for job in cluster.jobs.values() if job.running]
        if leases:
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
                self._on_synced(event)
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
                self._on_drain(event)
            case WinnerMissing():
                self._on_missing(event)
            case CommitPrepared():
                self._on_prepared(event)
            case CommitFinished():
                job = self.cluster.jobs.get(event.job_id)
                if job is not None and job.record.state is JobState.COMMITTING:
                    self.cluster.end_job(job, JobState.SUCCEEDED)
            case CommitRefused():
                self._on_refused(event)
            case CleanedUp():
                record = self.cluster.job(event.job_id)
                if record is not None and record.state.final and not record.cleaned:
                    self.cluster.record(JobCleaned(event.job_id))
            case NothingDone():
                self._on_nothing_done(event)
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

    def _on_prepared(self, event: CommitPrepared) -> None:
        job = self.cluster.jobs.get(event.job_id)
        if job is None or not job.running or not job.preparing:
            return
        # The committer has verified other winners than would be published: a run was lost and made
        # again meanwhile (48_winner_lost_while_prepared).
        if job.stale:
            self._prepare_anew(job, "")
            return
        job.preparing = False
        self.cluster.record(
            CommitBegun(job_id=event.job_id, plan=event.plan, wall_seconds=event.wall_seconds)
        )
        self.cluster.command(RunCommit(event.job_id))

    def _on_nothing_done(self, event: NothingDone) -> None:
        """Prepare a commit anew where winners were lost, and won again, before the first look.

        The machine waits for an answer to each `PrepareCommit`, so it would wait for ever
        (47_prepare_was_overtaken).
        """
        if isinstance(event.command, PrepareCommit):
            job = self.cluster.jobs.get(event.command.job_id)
            if job is not None and job.running and job.preparing:
                self._prepare_anew(job, "The master found no cause to commit the complete job.")

    def _prepare_anew(self, job: LiveJob, problem: str) -> None:
        """Prepare a commit once more if a winner was lost since; otherwise fail with `problem`.

        An answer that nothing explains would be given again, at once and without end.
        """
        job.preparing = False
        if job.stale:
            self.results.advance(job)
        else:
            self.cluster.end_job(job, JobState.FAILED, problem)

    def _on_refused(self, event: CommitRefused) -> None:
        job = self.cluster.jobs.get(event.job_id)
        if job is None:
            return
        if job.running and event.lost:  # parts that are gone can be made again (35_commit_refused)
            for attempt_id in event.lost:
                if event.job_id in self.cluster.jobs:
                    self.results.lose_winner(job, attempt_id, event.message)
            if event.job_id in self.cluster.jobs and job.preparing:
                self._prepare_anew(job, event.message)
            return
        # A refusal of a job that runs, and is not being prepared any more, came too late.
        if not job.running or job.preparing:
            self.cluster.end_job(job, JobState.FAILED, event.message)

    def _on_missing(self, event: WinnerMissing) -> None:
        job = self.cluster.jobs.get(event.attempt.task.job_id)
        if job is not None and job.running:
            self.results.lose_winner(job, event.attempt, "its run is not there")

    # -- workers ---------------------------------------------------------------------------------

    def _on_synced(self, event: Synced) -> None:
        if event.epoch > self.cluster.epoch:
            self.cluster.command(StepDown(event.epoch))
            return
        worker = self._identify_worker(event)
        if worker is None:
            return
        self._update_worker(worker, event)
        self.scheduler.fill(worker)
        if not event.park or self.parking.has_news(worker):
            self.parking.answer(worker)
        else:
            self.parking.park(worker)
        self.parking.set_timer(worker)

    def _identify_worker(self, event: Synced) -> Worker | None:
        """Return who speaks, or None where the request is from the past."""
        worker = self.cluster.workers.get(event.worker_id)
        to_leave = False
        # A ghost of a former process, whose requests would kill what the newer one runs
        # (10_superseded_session).
        if worker is not None and event.session < worker.session:
            self.cluster.command(
                Superseded(worker.id, event.session, event.sequence, worker.session)
            )
            return None
        if worker is not None and event.session == worker.session:
            if event.sequence <= worker.sequence:  # late, or twice (09_old_requests)
                return None
        elif worker is not None:  # a new process: what the former one held is gone
            for attempt in list(worker.held.values()):
                if attempt.id in worker.held:  # losing one may end its job, and drop the others
                    self.scheduler.lose_attempt(attempt, "lost with its process")
            self.cluster.forget(worker)
            # The request to leave was for the worker, not only for the process that died of itself
            # (46_drain_and_a_new_process).
            to_leave = worker.drain_asked and not worker.leave_sent
            worker = None
        if worker is None:
            if len(self.cluster.workers) >= self.cluster.limits.workers_max:
                lease = self.cluster.limits.lease_seconds
                self.cluster.command(
                    Reply(event.worker_id, event.session, event.sequence, (), sync_seconds=lease)
                )
                return None
            worker = Worker(event.worker_id, event.session, self.cluster.limits.lease_seconds)
            worker.drain_asked = to_leave
            self.cluster.workers[worker.id] = worker
        return worker

    def _update_worker(self, worker: Worker, event: Synced) -> None:
        """Take in a worker's whole state, which replaces what it said before."""
        worker.sequence = event.sequence
        worker.synced_at = worker.lease_from = self.cluster.now
        worker.parked = False
        self.cluster.idle_parked.pop(worker.id, None)
        if worker.id in self.cluster.awaited:
            del self.cluster.awaited[worker.id]
            if not self.cluster.awaited:
                self.cluster.wait_until = None
        slots = min(event.slots, self.cluster.limits.slots_max)
        self.cluster.slots += slots - worker.slots
        worker.slots = slots
        worker.draining = event.draining
        worker.sees_store = event.sees_store
        worker.about = event.about
        worker.listed = {held.attempt: held.state for held in event.held}
        # Results first: a task that is won here needs no attempt that this request lists, too.
        for held in event.held:
            if held.state is AttemptState.FINISHED:
                self.results.on_result(worker, held)
        for held in event.held:
            if held.state is not AttemptState.FINISHED:
                self._on_held(worker, held)
        for attempt in list(worker.held.values()):
            if attempt.id in worker.held and attempt.id not in worker.listed:
                self._on_unlisted(worker, attempt)
        if worker.leaving:
            self._take_back_unstarted(worker)
        leases = [attempt.lease_seconds for attempt in worker.held.values()]
        worker.lease_seconds = min(leases, default=self.cluster.limits.lease_seconds)

    def _on_held(self, worker: Worker, held: HeldAttempt) -> None:
        attempt = worker.held.get(held.attempt) or self._adopt(worker, held)
        if attempt is None:
            return  # nobody needs it: left out of the answer, it is killed
        if attempt.taken_back and held.state is AttemptState.RUNNING:
            # It began before its worker heard that it was taken back (23_taken_back).
            self.cluster.undo_take_back(attempt)
        attempt.known = True
        if held.state is AttemptState.RUNNING is not attempt.state:
            self.calls.on_started(held.attempt.task)
        attempt.state = held.state
        attempt.reported_at = self.cluster.now
        attempt.elapsed_seconds = held.elapsed_seconds
        attempt.progress = held.progress

    def _adopt(self, worker: Worker, held: HeldAttempt) -> Attempt | None:
        """Take over an attempt of a former epoch, or one whose lease ended while its task idled."""
        task_id = held.attempt.task
        job = self.cluster.jobs.get(task_id.job_id)
        if job is None or not job.running or not self.results.issued(job, held.attempt):
            return None
        record = job.record
        task = job.task(task_id)
        if record.task(task_id).winner is not None:  # another was faster (05_late_result)
            return None
        # It was journaled as failed by the master before, whose answer its worker has not heard.
        if record.task(task_id).counted(held.attempt.number):
            return None
        started = held.state is AttemptState.RUNNING
        if worker.leaving and not started:  # it would be taken back at once (17_drain)
            return None
        # Its result would be refused: it reads what was revoked (27_other_content).
        if held.inputs_version != record.stages[task_id.stage].version:
            return None
        # It would read what is lost or made again (58_readers_of_a_revoked_stage_wait).
        if not started and not record.readable(task_id.stage):
            return None
        if worker.active >= worker.slots + self.cluster.limits.prefetch_per_worker_max:
            return None
        if not resources.has_room(record.spec.resources, worker):  # something else has it by now
            return None
        if task.attempts and not self._supersede_shorter(job, task, held):
            return None
        wanted = Assignment(
            held.attempt,
            held.inputs_version,
            mark_records=record.task(task_id).mark_records,
            skip=record.task(task_id).skip,
        )
        attempt = Attempt(wanted, worker.id, record.spec.lease_seconds, self.cluster.now)
        job.find(held.attempt)
        self.cluster.hold(job, attempt, worker)
        self.cluster.note(task, "adopted", held.attempt.number, worker.id)
        return attempt

    def _supersede_shorter(self, job: LiveJob, task: LiveTask, held: HeldAttempt) -> bool:
        """Drop an attempt that has done less than `held`, which may have run for hours.

        50_the_older_attempt_stays.
        """
        if held.state is not AttemptState.RUNNING:
            return False
        least = min(
            task.attempts,
            key=lambda a: (
                a.state is AttemptState.RUNNING,
                a.running_seconds(self.cluster.now),
                a.id,
            ),
        )
        done = least.running_seconds(self.cluster.now)
        if least.state is AttemptState.RUNNING and done >= held.elapsed_seconds:
            return False
        job.superseded += 1
        self.cluster.note(task, "gave way to an older one", least.id.number, least.worker_id)
        self.cluster.drop(least)
        return True

    def _on_unlisted(self, worker: Worker, attempt: Attempt) -> None:
        """Judge an attempt that its worker should hold and does not list.

        A worker ignores answers to any but its newest request, so an assignment that this request
        does not list will never be taken up: it is confirmed as taken back, or is sent again.
        """
        task_id = attempt.id.task
        if attempt.taken_back or (worker.leaving and not attempt.known):
            job = self.cluster.jobs[task_id.job_id]
            self.cluster.drop(attempt)
            self.cluster.requeue(job, task_id)
        elif attempt.known:
            self.scheduler.lose_attempt(attempt, "vanished")

    def _on_drain(self, event: DrainAsked) -> None:
        worker = self.cluster.workers.get(event.worker_id)
        if worker is not None:
            worker.drain_asked = True
            self._take_back_unstarted(worker)
            self.cluster.dirty[worker.id] = None

    def _take_back_unstarted(self, worker: Worker) -> None:
        for attempt in list(worker.held.values()):
            if attempt.state is AttemptState.UNSTARTED:
                self.cluster.take_back(attempt, "taken back from a worker that leaves")
