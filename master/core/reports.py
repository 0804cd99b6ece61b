"""The reports of workers: who speaks, and what each of them holds.

A report names a worker's whole state. The core compares it with what it knows: results are taken
first, attempts of former epochs are adopted, and what is missing was lost or never arrived.
"""

from __future__ import annotations

from mrcore.master.core import resources
from mrcore.master.core.calls import Calls
from mrcore.master.core.cluster import Cluster
from mrcore.master.core.commands import Reply, StepDown, Superseded
from mrcore.master.core.events import DrainAsked, Synced
from mrcore.master.core.late_writers import clean_up_after
from mrcore.master.core.parking import Parking
from mrcore.master.core.results import Results
from mrcore.master.core.scheduler import Scheduler
from mrcore.master.core.volatile import Attempt, LiveJob, LiveTask, Worker
from mrcore.model.attempts import Assignment, AttemptState, HeldAttempt


class Reports:
    """The handlers of what workers report."""

    def __init__(
        self,
        cluster: Cluster,
        parking: Parking,
        scheduler: Scheduler,
        results: Results,
        calls: Calls,
    ) -> None:
        self.cluster = cluster
        self.parking = parking
        self.scheduler = scheduler
        self.results = results
        self.calls = calls

    def on_synced(self, event: Synced) -> None:
        """Take in the report of a worker, and answer it or park it."""
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
        listed = {held.attempt: held.state for held in event.held}
        clean_up_after(self.cluster, worker.listed, listed)  # 102_late_writer
        worker.listed = listed
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

    def on_drain(self, event: DrainAsked) -> None:
        """Stop giving work to a worker, and take back what it has not begun."""
        worker = self.cluster.workers.get(event.worker_id)
        if worker is not None:
            worker.drain_asked = True
            self._take_back_unstarted(worker)
            self.cluster.dirty[worker.id] = None

    def _take_back_unstarted(self, worker: Worker) -> None:
        for attempt in list(worker.held.values()):
            if attempt.state is AttemptState.UNSTARTED:
                self.cluster.take_back(attempt, "taken back from a worker that leaves")
