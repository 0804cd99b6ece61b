"""Assignment of tasks, ends of leases, and stragglers."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from mrcore.master.core import policy, resources
from mrcore.master.core.calls import Calls
from mrcore.master.core.cluster import Cluster
from mrcore.master.core.events import Ticked
from mrcore.master.core.facts import WorkersLeft
from mrcore.master.core.parking import Parking
from mrcore.master.core.volatile import Attempt, LiveJob, LiveStage, LiveTask, Worker
from mrcore.model.attempts import AttemptState
from mrcore.model.ids import TaskId
from mrcore.model.job import JobState
from mrcore.model.task import FailureKind, TaskFailure

NEVER_FAILED = (0.0, 0)
NEVER = float("inf")


class Scheduler:
    """The scheduling of a cluster: assignment of tasks, ends of leases, search for stragglers."""

    def __init__(self, cluster: Cluster, parking: Parking, calls: Calls) -> None:
        self.cluster = cluster
        self.parking = parking
        self.calls = calls
        self._alarm: float | None = None
        """Time at which an idle worker that could be given nothing should be looked at again."""
        self._review_at = float("-inf")
        """Earliest time of the next search for stragglers, which takes an idle worker."""

    def next_deadline(self) -> float | None:
        """Return when `Ticked` must be stepped at the latest, or None if only events matter."""
        cluster = self.cluster
        due = NEVER
        for other in (self._alarm, cluster.wait_until, self.parking.next_timer()):
            if other is not None and other < due:
                due = other
        if cluster.delayed and cluster.delayed[0][0] < due:
            due = cluster.delayed[0][0]
        if self._review_at < due and self._searching():
            due = self._review_at
        return None if due == NEVER else max(due, cluster.now)

    # -- assignment ------------------------------------------------------------------------------

    def fill(self, worker: Worker) -> None:
        """Assign tasks to a worker's free slots, and ahead of them where tasks are short.

        After a restart nothing is assigned before the workers have reported: they may run it
        already (31_restart). How much a worker gets ahead is played in 22_prefetch.
        """
        if self.cluster.waiting or not self.cluster.may_work(worker):
            # Here, and not once when the blame begins: another alarm may have come first
            # (test_a_worker_at_fault_gets_no_work_for_a_while_and_then_does).
            if worker.blamed_until > self.cluster.now:
                self._wake_at(worker.blamed_until)
            return
        unfit: set[str] = set()  # asked for membership only
        room = worker.slots + self.cluster.limits.prefetch_per_worker_max
        while len(worker.held) < room:
            job = self._next_job(worker, unfit)
            stage = job.ready() if job is not None else None
            if job is None or stage is None:
                return
            ahead = worker.active - worker.slots
            # What may be ahead is counted over all idle workers: not for each task of a free slot
            # (test_a_free_slot_is_filled_without_a_look_at_the_idle_workers).
            if ahead >= 0 and ahead >= self._ahead(worker, job, stage):
                return
            task_id = self._next_task(job, worker)
            if task_id is None:
                unfit.add(job.record.job_id)
            else:
                self.cluster.assign(job, task_id, worker)

    def _ahead(self, worker: Worker, job: LiveJob, stage: LiveStage) -> int:
        """Return how many attempts the worker may hold beyond its slots."""
        median = stage.durations.median()
        if not policy.may_prefetch(median, self.cluster.limits):
            return 0  # without a look at the idle workers, of which there may be thousands
        idle = max(0, stage.ready - self._free_slots(job))  # 61_idle_slots_come_first
        return policy.prefetch(median, idle, worker.slots, self.cluster.slots, self.cluster.limits)

    def _free_slots(self, job: LiveJob) -> int:
        """Return the slots of idle workers that nothing fills, and that tasks of a job may get."""
        workers = (self.cluster.workers[worker_id] for worker_id in self.cluster.idle_parked)
        needs = job.record.spec.resources
        return sum(
            worker.slots - worker.active for worker in workers if resources.has_room(needs, worker)
        )

    def _next_job(self, worker: Worker, unfit: set[str]) -> LiveJob | None:
        """Return the job to serve, among those with idle tasks that this worker can run."""
        while True:
            jobs = [
                job
                for job in self.cluster.jobs.values()
                if job.record.job_id not in unfit and job.ready() is not None
            ]
            chosen = policy.choose_job(
                (job.record.spec.priority, job.turn, job.record.serial) for job in jobs
            )
            if chosen is None:
                return None
            job = jobs[chosen]
            unfit.add(job.record.job_id)
            # A worker with another Python gets no task of the job (36_version_mismatch).
            if policy.mismatch(job.record.spec.versions, worker.about) is not None:
                continue
            needs = job.record.spec.resources
            if resources.has_room(needs, worker):
                unfit.discard(job.record.job_id)
                return job
            if resources.suits(needs, worker.about):
                # What becomes free is saved for it, or small tasks of others would take it for
                # ever (81_a_large_task_gets_its_turn).
                unfit.update(
                    job_id
                    for job_id, other in self.cluster.jobs.items()
                    if resources.is_counted(other.record.spec.resources)
                )

    def _next_task(self, job: LiveJob, worker: Worker) -> TaskId | None:
        """Take the first idle task that does not avoid this worker out of its heap."""
        for stage in job.serving():
            index = self._next_of_stage(job, stage, worker)
            if index is not None:
                return TaskId(job.record.job_id, stage.number, index)
        return None

    def _next_of_stage(self, job: LiveJob, stage: LiveStage, worker: Worker) -> int | None:
        aside: list[tuple[int, int]] = []
        found = None
        while stage.heap and len(aside) < self.cluster.limits.scan_max:
            entry = heapq.heappop(stage.heap)
            task = stage.tasks[entry[0]]
            if task.ticket != entry[1]:  # void (64_won_while_queued)
                continue
            if not self._avoids(job, task, worker):
                found = entry[0]
                break
            aside.append(entry)
        for entry in aside:
            heapq.heappush(stage.heap, entry)
        return found

    def _avoids(self, job: LiveJob, task: LiveTask, worker: Worker) -> bool:
        """Return whether a task waits for a worker where it failed less often.

        It waits for a while after each failure (45_input_that_one_worker_cannot_read). Once it has
        failed often here, it waits as long as such a worker lives. An idle worker that cannot read
        an input would spend the whole budget of the task while the others are busy
        (51_idle_worker_that_cannot_read).
        """
        until, strikes = task.avoid.get(worker.id, NEVER_FAILED)
        often = strikes >= self.cluster.limits.strikes_max
        if until <= self.cluster.now and not often:
            return False
        for other in self.cluster.workers.values():
            # A worker where it failed as often is not waited for (15_budget_of_the_machines).
            fewer = task.avoid.get(other.id, NEVER_FAILED)[1] < strikes
            if fewer and self.cluster.able(job, other):
                break
        else:
            return False
        if not often:
            self._wake_at(until)
        return True

    def _wake_at(self, when: float) -> None:
        self._alarm = when if self._alarm is None else min(self._alarm, when)

    def _release_backoffs(self) -> None:
        """Put tasks whose back-off has ended into their stage's queue."""
        while self.cluster.delayed and self.cluster.delayed[0][0] <= self.cluster.now:
            entry = heapq.heappop(self.cluster.delayed)
            if self.cluster.is_delayed(entry):
                _, ticket, task_id = entry
                stage = self.cluster.jobs[task_id.job_id].stages[task_id.stage]
                stage.tasks[task_id.index].delayed = False
                stage.delayed -= 1
                stage.ready += 1
                stage.queue(task_id.index, ticket, self.cluster.limits)

    def settle(self) -> None:
        """Let what this step has changed reach the workers whose requests are parked."""
        cluster = self.cluster
        self._release_backoffs()
        # A worker of the former master may never come back (32_restart_without_workers).
        until = cluster.wait_until
        if until is not None and (until <= cluster.now or not cluster.jobs):
            cluster.wait_until = None
            self.dismiss(cluster.awaited)
            cluster.awaited.clear()
        for worker_id in list(cluster.dirty):
            worker = cluster.workers.get(worker_id)
            if worker is not None and worker.parked:
                self._serve_parked(worker)
        cluster.dirty.clear()
        if not cluster.waiting:
            for worker_id in list(cluster.idle_parked):
                if not self._work_is_ready():
                    break
                self._serve_parked(cluster.workers[worker_id])

    def _searching(self) -> bool:
        """Return whether a worker idles while a job runs, and may be given work."""
        if not self.cluster.idle_parked or self.cluster.waiting:
            return False
        return any(job.running for job in self.cluster.jobs.values())

    def _serve_parked(self, worker: Worker) -> None:
        self.fill(worker)
        if self.parking.has_news(worker):
            self.parking.answer(worker)
            self.parking.set_timer(worker)

    def _work_is_ready(self) -> bool:
        return any(job.ready() for job in self.cluster.jobs.values())

    # -- time ------------------------------------------------------------------------------------

    def on_stalled(self, seconds: float) -> None:
        """Lengthen every lease by the time in which nobody could be heard (38_stall)."""
        for worker in self.cluster.workers.values():
            worker.lease_from += seconds
        if self.cluster.wait_until is not None:
            self.cluster.wait_until += seconds

    def on_ticked(self, event: Ticked) -> None:
        """Do what is due: answers to parked requests, ends of leases, and the search."""
        if event.wall_seconds:
            self.cluster.wall_offset = event.wall_seconds - self.cluster.now
        for worker in self.parking.due_workers():
            self._on_timer(worker)
        if self._alarm is not None and self._alarm <= self.cluster.now:
            self._alarm = None
        if self._review_at <= self.cluster.now and self._searching():
            self._review_at = self.cluster.now + self.cluster.limits.review_seconds
            self._review()

    def _on_timer(self, worker: Worker) -> None:
        """Answer a request that has been parked long enough, or end the leases of the silent.

        The first is played in 12_parked, the second in 04_lease_expiry.
        """
        if worker.parked and worker.answer_at <= self.cluster.now:
            self.fill(worker)
            self.parking.answer(worker)
        for attempt in list(worker.held.values()):
            lapsed = worker.lease_from + attempt.lease_seconds <= self.cluster.now
            if lapsed and attempt.id in worker.held:
                self.lose_attempt(attempt, "expired")
        leases = [attempt.lease_seconds for attempt in worker.held.values()]
        worker.lease_seconds = min(leases, default=self.cluster.limits.lease_seconds)
        if not worker.held and self.parking.lease_end(worker) <= self.cluster.now:
            self.cluster.forget(worker)
            self.dismiss([worker.id])
        else:
            self.parking.set_timer(worker)

    def dismiss(self, worker_ids: Iterable[str]) -> None:
        """Remember that nothing of these workers is to be waited for after a restart."""
        known = tuple(w for w in worker_ids if w in self.cluster.durable.workers)
        if known:
            self.cluster.record(WorkersLeft(known))

    def lose_attempt(self, attempt: Attempt, why: str) -> None:
        """Drop an attempt that went with its worker; nobody's failure, but not for ever.

        A task that ends every worker would go round without end
        (test_a_task_that_takes_worker_after_worker_with_it_ends_its_job).
        """
        task_id = attempt.id.task
        job = self.cluster.jobs[task_id.job_id]
        task = job.task(task_id)
        self.cluster.drop(attempt)
        job.expired += 1
        task.expiries += 1
        self.cluster.note(task, why, attempt.id.number, attempt.worker_id)
        if task.expiries < self.cluster.limits.expiries_max:
            self.cluster.requeue(job, task_id, self.cluster.back_off(task))
            return
        message = (
            f"Task {job.record.task_name(task_id)} took {task.expiries} workers with it: "
            "look at their machines' memory, or give it less at once"
        )
        failure = TaskFailure(kind=FailureKind.INFRASTRUCTURE, message=message)
        if job.record.calls is not None:
            self.calls.fail(task_id, failure)
            return
        self.cluster.end_job(job, JobState.FAILED, message, failure, task_id)

    # -- stragglers ------------------------------------------------------------------------------

    def _review(self) -> None:
        """While workers idle: back up stragglers, take back what waits behind others."""
        jobs = [job for job in self.cluster.jobs.values() if job.running]
        jobs.sort(key=lambda job: (-job.record.spec.priority, job.record.serial))
        for job in jobs:
            self._review_versions(job)
            for stage in job.serving() if job.record.job_id in self.cluster.jobs else ():
                self._back_up(job, stage)

    def _back_up(self, job: LiveJob, stage: LiveStage) -> None:
        """Back up stragglers (24_backup_task); free what waits behind one (23_taken_back)."""
        waiting = stage.ready + stage.delayed
        if waiting:
            return
        median = stage.durations.median()
        patience = max(self.cluster.limits.steal_floor_seconds, 4.0 * (median or 0.0))
        free = self._free_slots(job)
        slowest = sorted(
            stage.attempts.values(), key=lambda a: (-a.running_seconds(self.cluster.now), a.id)
        )
        for attempt in slowest:
            attempts = len(stage.tasks[attempt.id.task.index].attempts)
            elapsed = attempt.running_seconds(self.cluster.now)
            # A function that is called may have effects, so that a call never runs twice at once.
            if (
                job.record.calls is None
                and job.record.spec.backup
                and policy.should_back_up(elapsed, median, waiting, attempts, self.cluster.limits)
            ):
                helper = self._helper(job, attempt)
                if helper is not None:
                    self.cluster.assign(job, attempt.id.task, helper)
                    self.parking.answer(helper)
                    self.parking.set_timer(helper)
                    free -= 1
            elif (
                free > 0
                and attempt.state is AttemptState.UNSTARTED
                and not attempt.taken_back
                # It does not wait behind others there (62_worker_that_begins_late).
                and attempt.worker_id not in self.cluster.idle_parked
                and self.cluster.now - attempt.assigned_at >= patience
            ):
                self.cluster.take_back(attempt, "taken back for an idle worker")
                free -= 1

    def _helper(self, job: LiveJob, attempt: Attempt) -> Worker | None:
        """Return the idle worker that is to run a backup of an attempt."""
        task = job.task(attempt.id.task)
        for worker_id in self.cluster.idle_parked:
            worker = self.cluster.workers[worker_id]
            if (
                worker_id != attempt.worker_id
                and self.cluster.able(job, worker)
                and resources.has_room(job.record.spec.resources, worker)
                and not self._avoids(job, task, worker)
            ):
                return worker
        return None

    def _review_versions(self, job: LiveJob) -> None:
        """Fail a job that none of the workers can run, before it waits for ever.

        It is given some time in which a worker that can may join (36_version_mismatch). A job that
        has begun waits for longer, since its work would be lost. Of a session only the calls that
        wait fail: the values of others stay (86_calls_that_no_worker_can_run).
        """
        stages, calls = job.serving(), job.record.calls
        reasons = [
            policy.mismatch(job.record.spec.versions, worker.about)
            for worker in self.cluster.workers.values()
        ]
        busy = any(stage.busy for stage in stages)
        begun = busy or not stages
        begun |= calls is None and any(stage.completed for stage in job.record.stages)
        if begun or not reasons or None in reasons:
            job.mismatch_since = None
        elif job.mismatch_since is None:
            job.mismatch_since = self.cluster.now
        elif self.cluster.now - job.mismatch_since >= self.cluster.limits.mismatch_seconds:
            message = (
                f"All workers run {reasons[0]}: install the same versions on workers and client"
            )
            failure = TaskFailure(kind=FailureKind.USER, message=message)
            if calls is None:
                self.cluster.end_job(job, JobState.FAILED, message, failure)
            else:
                self.calls.fail_all(job, failure)
