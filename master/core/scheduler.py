"""Who gets what and when: assignment, parked requests, leases, stragglers."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from mrcore.master.core import policy
from mrcore.master.core.cluster import Core
from mrcore.master.core.events import Ticked
from mrcore.master.core.facts import WorkersLeft
from mrcore.master.core.volatile import Attempt, LiveJob, LiveStage, LiveTask, Worker
from mrcore.model.attempts import AttemptState
from mrcore.model.ids import TaskId
from mrcore.model.job import JobState
from mrcore.model.task import FailureKind, TaskFailure

NEVER_FAILED = (0.0, 0)


class Scheduler(Core):
    """The part of the machine that serves workers and lets time pass."""

    def next_deadline(self) -> float | None:
        """Return when `Ticked` must be stepped at the latest, or None if only events matter."""
        while self._timers:
            if self._is_set(self._timers[0]):
                break
            heapq.heappop(self._timers)
        dues = [self._alarm, self._wait_until]
        if self._searching():
            dues.append(self._review_at)
        dues += [heap[0][0] for heap in (self._timers, self._delayed) if heap]
        due = min((due for due in dues if due is not None), default=None)
        return None if due is None else max(due, self.now)

    # -- assignment ------------------------------------------------------------------------------

    def _may_work(self, worker: Worker) -> bool:
        blamed = self.now < worker.blamed_until
        return worker.sees_store and not worker.leaving and not blamed and worker.slots > 0

    def _able(self, job: LiveJob, worker: Worker) -> bool:
        """Return whether a worker may work, and runs what this job's client runs."""
        mismatch = policy.mismatch(job.record.spec.versions, worker.about)
        return self._may_work(worker) and mismatch is None

    def _fill(self, worker: Worker) -> None:
        """Assign tasks to a worker's free slots, and ahead of them where tasks are short."""
        if self.waiting or not self._may_work(worker):
            if worker.blamed_until > self.now:  # here, since another alarm may have come first
                self._ring(worker.blamed_until)
            return
        unfit: set[str] = set()  # asked for membership only
        room = worker.slots + self.limits.prefetch_per_worker_max
        while len(worker.held) < room:
            job = self._next_job(worker, unfit)
            stage = job.ready() if job is not None else None
            if job is None or stage is None:
                return
            if worker.active >= worker.slots + self._ahead(worker, stage):
                return
            task_id = self._next_task(job, worker)
            if task_id is None:
                unfit.add(job.record.job_id)
            else:
                self._assign(job, task_id, worker)

    def _ahead(self, worker: Worker, stage: LiveStage) -> int:
        """Return how many attempts the worker may hold beyond its slots."""
        if worker.active < worker.slots:
            return 0
        median = stage.durations.median()
        idle = max(0, stage.ready - self._free_slots())  # those who idle come first
        return policy.prefetch(median, idle, worker.slots, self._slots, self.limits)

    def _free_slots(self) -> int:
        """Return the slots of hungry workers that nothing fills."""
        workers = (self._workers[worker_id] for worker_id in self._hungry)
        return sum(worker.slots - worker.active for worker in workers)

    def _next_job(self, worker: Worker, unfit: set[str]) -> LiveJob | None:
        """Return the job to serve, among those with idle tasks that this worker can run."""
        while True:
            jobs = [
                job
                for job in self._jobs.values()
                if job.record.job_id not in unfit and job.ready() is not None
            ]
            chosen = policy.choose_job(
                (job.record.spec.priority, job.turn, job.record.serial) for job in jobs
            )
            if chosen is None:
                return None
            job = jobs[chosen]
            if policy.mismatch(job.record.spec.versions, worker.about) is None:
                return job
            unfit.add(job.record.job_id)

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
        while stage.heap and len(aside) < self.limits.scan_max:
            entry = heapq.heappop(stage.heap)
            task = stage.tasks[entry[0]]
            if task.ticket != entry[1]:
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

        For a while after each failure; and for as long as such a worker lives once it has failed
        often here. An idle worker that cannot read an input would spend the whole budget of the
        task while the others are busy.
        """
        until, strikes = task.avoid.get(worker.id, NEVER_FAILED)
        often = strikes >= self.limits.strikes_max
        if until <= self.now and not often:
            return False
        for other in self._workers.values():
            if task.avoid.get(other.id, NEVER_FAILED)[1] < strikes and self._able(job, other):
                break
        else:
            return False
        if not often:
            self._ring(until)
        return True

    def _ring(self, when: float) -> None:
        self._alarm = when if self._alarm is None else min(self._alarm, when)

    def _park(self, worker: Worker) -> None:
        worker.parked = True
        worker.answer_at = self.now + self._sync_seconds(worker)
        if worker.sees_store and not worker.leaving and worker.active < worker.slots:
            self._hungry[worker.id] = None

    def _ripen(self) -> None:
        """Put tasks whose back-off has ended into their stage's queue."""
        while self._delayed and self._delayed[0][0] <= self.now:
            entry = heapq.heappop(self._delayed)
            if self._is_delayed(entry):
                _, ticket, task_id = entry
                stage = self._jobs[task_id.job_id].stages[task_id.stage]
                stage.tasks[task_id.index].delayed = False
                stage.delayed -= 1
                stage.ready += 1
                stage.queue(task_id.index, ticket, self.limits)

    def _settle(self) -> None:
        """Let what this step has changed reach the workers whose requests are parked."""
        self._ripen()
        if self._wait_until is not None and (self._wait_until <= self.now or not self._jobs):
            self._wait_until = None
            self._dismiss(self._awaited)
            self._awaited.clear()
        for worker_id in list(self._touched):
            worker = self._workers.get(worker_id)
            if worker is not None and worker.parked:
                self._wake(worker)
        self._touched.clear()
        if not self.waiting:
            for worker_id in list(self._hungry):
                if not self._work_is_ready():
                    break
                self._wake(self._workers[worker_id])

    def _searching(self) -> bool:
        """Return whether a worker idles while a job runs, and may be given work."""
        searching = bool(self._hungry) and not self.waiting
        return searching and any(job.running for job in self._jobs.values())

    def _wake(self, worker: Worker) -> None:
        self._fill(worker)
        if self._has_news(worker):
            self._answer(worker)
            self._set_timer(worker)

    def _work_is_ready(self) -> bool:
        return any(job.ready() for job in self._jobs.values())

    # -- time ------------------------------------------------------------------------------------

    def _on_stalled(self, seconds: float) -> None:
        """Lengthen every lease by the time in which nobody could be heard."""
        for worker in self._workers.values():
            worker.lease_from += seconds
        if self._wait_until is not None:
            self._wait_until += seconds

    def _on_ticked(self, event: Ticked) -> None:
        if event.wall_seconds:
            self._wall_offset = event.wall_seconds - self.now
        while self._timers and self._timers[0][0] <= self.now:
            when, worker_id = heapq.heappop(self._timers)
            worker = self._workers.get(worker_id)
            if worker is not None and worker.timer == when:
                self._on_timer(worker)
        if self._alarm is not None and self._alarm <= self.now:
            self._alarm = None
        if self._review_at <= self.now and self._searching():
            self._review_at = self.now + self.limits.review_seconds
            self._review()

    def _on_timer(self, worker: Worker) -> None:
        """Answer a request that has been parked long enough, or end the leases of the silent."""
        if worker.parked and worker.answer_at <= self.now:
            self._fill(worker)
            self._answer(worker)
        for attempt in list(worker.held.values()):
            lapsed = worker.lease_from + attempt.lease_seconds <= self.now
            if lapsed and attempt.id in worker.held:
                self._lose_attempt(attempt, "expired")
        leases = [attempt.lease_seconds for attempt in worker.held.values()]
        worker.lease_seconds = min(leases, default=self.limits.lease_seconds)
        if not worker.held and self._lease_end(worker) <= self.now:
            self._forget(worker)
            self._dismiss([worker.id])
        else:
            self._set_timer(worker)

    def _dismiss(self, worker_ids: Iterable[str]) -> None:
        """Remember that nothing of these workers is to be waited for after a restart."""
        known = tuple(w for w in worker_ids if w in self._durable.workers)
        if known:
            self._record(WorkersLeft(known))

    def _lose_attempt(self, attempt: Attempt, why: str) -> None:
        """Give up an attempt that went with its worker; nobody's failure, but not for ever."""
        task_id = attempt.id.task
        job = self._jobs[task_id.job_id]
        task = job.task(task_id)
        self._drop(attempt)
        job.expired += 1
        task.expiries += 1
        self._tell(task, why, attempt.id.number, attempt.worker_id)
        if task.expiries < self.limits.expiries_max:
            self._requeue(job, task_id, self._back_off(task))
            return
        message = (
            f"Task {job.record.task_name(task_id)} took {task.expiries} workers with it: "
            "look at their machines' memory, or give it less at once"
        )
        failure = TaskFailure(kind=FailureKind.INFRASTRUCTURE, message=message)
        self._end_job(job, JobState.FAILED, message, failure, task_id)

    # -- stragglers ------------------------------------------------------------------------------

    def _review(self) -> None:
        """While workers idle: back up stragglers, take back what waits behind others."""
        jobs = [job for job in self._jobs.values() if job.running]
        jobs.sort(key=lambda job: (-job.record.spec.priority, job.record.serial))
        for job in jobs:
            self._review_versions(job)
            for stage in job.serving() if job.record.job_id in self._jobs else ():
                self._back_up(job, stage)

    def _back_up(self, job: LiveJob, stage: LiveStage) -> None:
        waiting = stage.ready + stage.delayed
        if waiting:
            return
        median = stage.durations.median()
        patience = max(self.limits.steal_floor_seconds, 4.0 * (median or 0.0))
        free = self._free_slots()
        slowest = sorted(
            stage.attempts.values(), key=lambda a: (-a.running_seconds(self.now), a.id)
        )
        for attempt in slowest:
            attempts = len(stage.tasks[attempt.id.task.index].attempts)
            elapsed = attempt.running_seconds(self.now)
            if policy.should_back_up(elapsed, median, waiting, attempts, self.limits):
                helper = self._helper(job, attempt)
                if helper is not None:
                    self._assign(job, attempt.id.task, helper)
                    self._answer(helper)
                    self._set_timer(helper)
                    free -= 1
            elif (
                free > 0
                and attempt.state is AttemptState.UNSTARTED
                and not attempt.taken_back
                and attempt.worker_id not in self._hungry
                and self.now - attempt.assigned_at >= patience
            ):
                self._take_back(attempt, "taken back for an idle worker")
                free -= 1

    def _helper(self, job: LiveJob, attempt: Attempt) -> Worker | None:
        """Return the hungry worker that is to run a backup of an attempt."""
        task = job.task(attempt.id.task)
        for worker_id in self._hungry:
            worker = self._workers[worker_id]
            if (
                worker_id != attempt.worker_id
                and self._able(job, worker)
                and not self._avoids(job, task, worker)
            ):
                return worker
        return None

    def _review_versions(self, job: LiveJob) -> None:
        """Fail a job that no worker there is can run, before it waits for ever."""
        stages = job.serving()
        reasons = [
            policy.mismatch(job.record.spec.versions, worker.about)
            for worker in self._workers.values()
        ]
        busy = any(stage.busy for stage in stages)
        begun = busy or not stages or any(stage.completed for stage in job.record.stages)
        if begun or not reasons or None in reasons:
            job.mismatch_since = None
        elif job.mismatch_since is None:
            job.mismatch_since = self.now
        elif self.now - job.mismatch_since >= self.limits.mismatch_seconds:
            message = (
                f"All workers run {reasons[0]}: install the same versions on workers and client"
            )
            failure = TaskFailure(kind=FailureKind.USER, message=message)
            self._end_job(job, JobState.FAILED, message, failure)
