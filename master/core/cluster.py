"""The state of the master and the few operations that keep its indexes true.

`scheduler`, `results` and `machine` decide. What they decide becomes an assignment, a release, a
place in a queue or a fact through the methods here. Each keeps every invariant of `invariants`.
When a worker gets its answer is the matter of `parking`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mrcore.master.core import heaps, policy, resources
from mrcore.master.core.commands import CleanUp, Command
from mrcore.master.core.durable import Durable
from mrcore.master.core.ended import Stories, share_skeletons
from mrcore.master.core.facts import Fact, JobCleaned, JobEnded, WorkerJoined
from mrcore.master.core.late_writers import clean_up_after
from mrcore.master.core.limits import Limits
from mrcore.master.core.records import JobRecord
from mrcore.master.core.volatile import Attempt, LiveJob, LiveStage, LiveTask, Worker
from mrcore.model.attempts import Assignment
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobState
from mrcore.model.task import TaskFailure

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - the type only: a generator is always passed in


class Outcome(msgspec.Struct, frozen=True):
    """The result of a step. Its facts must be durable BEFORE any of its commands is run."""

    facts: list[Fact] = []
    commands: list[Command] = []


class Cluster:
    """Jobs, workers and queues, with the operations that keep them consistent.

    Its attributes are for reading everywhere, and are changed within this folder only.
    """

    def __init__(self, limits: Limits, rng: Random) -> None:
        self.limits = limits
        self.now = float("-inf")
        self._rng = rng
        self.durable = Durable()
        self.jobs: dict[str, LiveJob] = {}
        self.stories = Stories(limits)
        self.workers: dict[str, Worker] = {}
        self.last_gone = ""
        """The worker that was lost, or has left, most recently."""
        self.outcome = Outcome()
        self.ended: list[str] = []
        """Jobs that ended in this step, and for which others may have waited."""
        self.wall_offset = 0.0
        self.number = 0
        """The number of the newest attempt of this epoch."""
        self._tickets = 0
        self._turns = 0
        self.slots = 0
        """The slots of all workers together."""
        self.delayed: list[tuple[float, int, TaskId]] = []
        """(due, ticket, task): idle tasks whose back-off has not ended."""
        self.timers: list[tuple[float, str]] = []
        """(when, worker): answers to parked requests and ends of leases."""
        self.idle_parked: dict[str, None] = {}
        """Parked workers with a free slot, longest waiting first."""
        self.dirty: dict[str, None] = {}
        """Workers whose wanted attempts have changed in this step."""
        self.cleaning: dict[str, bool] = {}
        """Jobs that are being cleaned up, and whether to clean up once more after that."""
        self.stalls: dict[str, str] = {}
        """Reasons of jobs whose tasks are queued beside idle workers (`watchdog`)."""
        self.awaited: dict[str, None] = {}
        """After a take-over: workers that may hold attempts and have not synchronised yet."""
        self.wait_until: float | None = None
        """After a take-over: nothing is assigned before, or until all awaited have reported.

        Each of them may run an attempt for hours that no fact mentions.
        """

    # -- reading ---------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Return the epoch that this master acts in."""
        return self.durable.epoch

    def job(self, job_id: str) -> JobRecord | None:
        """Return one job, live or remembered."""
        return self.durable.jobs.get(job_id)

    def job_of_request(self, request_id: str) -> str | None:
        """Return the id of the job that this submission made, if it is remembered."""
        return self.durable.requests.get(request_id)

    def live_jobs(self) -> list[JobRecord]:
        """Return the jobs that have not ended, oldest first."""
        return [job.record for job in self.jobs.values()]

    def displayed_job(self, job_id: str) -> LiveJob | None:
        """Return the volatile half of a live job, or of one that ended lately: for display."""
        return self.jobs.get(job_id) or self.stories.get(job_id)

    def sorted_workers(self) -> list[Worker]:
        """Return the workers that are not forgotten, by id."""
        return [self.workers[worker_id] for worker_id in sorted(self.workers)]

    @property
    def waiting(self) -> bool:
        """Return whether a take-over still waits for the workers of its predecessor."""
        return self.wait_until is not None

    # -- facts and commands ----------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Begin a step: its facts and commands are collected in an outcome of its own."""
        assert now >= self.now, f"time went back from {self.now} to {now}"
        self.now = now
        self.outcome = Outcome()

    def apply(self, fact: Fact) -> None:
        """Take in a fact of the journal: the only way in which durable state changes."""
        self.durable.apply(fact, self.limits)

    def restore(self, durable: Durable) -> None:
        """Take the durable state of a snapshot, before this master acts."""
        self.durable = durable
        for record in durable.jobs.values():
            if record.state.final:
                share_skeletons(record)

    def record(self, fact: Fact) -> None:
        """Take in a fact of this step, which is to be journaled."""
        self.apply(fact)
        self.outcome.facts.append(fact)

    def command(self, command: Command) -> None:
        """Have a command obeyed once the facts of this step are durable."""
        self.outcome.commands.append(command)

    def wall(self) -> float:
        """Return the wall clock as the shell last reported it, for people to read."""
        return self.now + self.wall_offset

    def note(self, task: LiveTask, what: str, number: AttemptNumber | None, where: str) -> None:
        """Add a line to the story of a task, which people read."""
        task.story.append((self.wall(), what, number, where))
        del task.story[: -self.limits.story_lines]

    # -- queues ----------------------------------------------------------------------------------

    def enqueue(self, job: LiveJob, task_id: TaskId, delay: float = 0.0) -> None:
        """Make a task idle: in its stage's queue at once, or when its back-off ends."""
        stage = job.stages[task_id.stage]
        task = stage.tasks[task_id.index]
        assert task.ticket == 0, f"{task_id} queued twice"
        assert not task.attempts, f"{task_id} queued while in progress"
        self._tickets += 1
        task.ticket = self._tickets
        if delay > 0.0:
            task.delayed = True
            stage.delayed += 1
            entry = (self.now + delay, task.ticket, task_id)
            valid = sum(each.delayed for job in self.jobs.values() for each in job.stages)
            most = 2 * valid + self.limits.void_entries_max
            heaps.push(self.delayed, entry, most, self.is_delayed)
        else:
            stage.ready += 1
            stage.queue(task_id.index, task.ticket, self.limits)

    def dequeue(self, stage: LiveStage, task: LiveTask) -> None:
        """Take an idle task out of its queue; its entry there is void from now on."""
        if task.ticket == 0:
            return
        task.ticket = 0
        if task.delayed:
            task.delayed = False
            stage.delayed -= 1
        else:
            stage.ready -= 1

    def is_delayed(self, entry: tuple[float, int, TaskId]) -> bool:
        """Return whether an entry of the back-offs still holds for its task."""
        _, ticket, task_id = entry
        job = self.jobs.get(task_id.job_id)
        task = None if job is None else job.task(task_id)
        return task is not None and task.delayed and task.ticket == ticket

    # -- attempts --------------------------------------------------------------------------------

    def assign(self, job: LiveJob, task_id: TaskId, worker: Worker) -> None:
        """Assign a new attempt of a task to a worker; its next answer carries it."""
        record = job.record
        assert record.readable(task_id.stage), f"{task_id} assigned before what it reads"
        task_record = record.task(task_id)
        attempt_id = AttemptId(task_id, self._next_number())
        wanted = Assignment(
            attempt_id,
            record.stages[task_id.stage].version,
            mark_records=task_record.mark_records,
            skip=task_record.skip,
        )
        attempt = Attempt(wanted, worker.id, record.spec.lease_seconds, self.now)
        self.hold(job, attempt, worker)
        self._turns += 1
        job.turn = self._turns
        job.started += 1
        job.stages[task_id.stage].started += 1
        job.newest = attempt_id.number
        self.note(job.task(task_id), "assigned", attempt_id.number, worker.id)

    def _next_number(self) -> AttemptNumber:
        self.number += 1
        return AttemptNumber(self.epoch, self.number)

    def hold(self, job: LiveJob, attempt: Attempt, worker: Worker) -> None:
        """Enter an attempt, new or adopted, into every index."""
        task_id = attempt.id.task
        stage, task = job.stages[task_id.stage], job.task(task_id)
        assert job.record.task(task_id).winner is None, f"{task_id} has a winner already"
        self.dequeue(stage, task)
        if not task.attempts:
            stage.busy += 1
        task.attempts.append(attempt)
        stage.attempts[attempt.id] = attempt
        worker.held[attempt.id] = attempt
        resources.reserve(job.record.spec.resources, worker)
        if worker.id not in self.durable.workers:
            self.record(WorkerJoined(worker.id))
        others = worker.lease_seconds if len(worker.held) > 1 else attempt.lease_seconds
        worker.lease_seconds = min(others, attempt.lease_seconds)

    def drop(self, attempt: Attempt) -> None:
        """Forget an attempt: it ended, or nobody needs it. The caller queues the task if need be.

        Its worker sees that the next answer leaves the attempt out.
        """
        task_id = attempt.id.task
        stage = self.jobs[task_id.job_id].stages[task_id.stage]
        task = stage.tasks[task_id.index]
        task.attempts.remove(attempt)
        if not task.attempts:
            stage.busy -= 1
        del stage.attempts[attempt.id]
        worker = self.workers[attempt.worker_id]
        del worker.held[attempt.id]
        resources.reserve(self.jobs[task_id.job_id].record.spec.resources, worker, -1)
        if attempt.taken_back:
            worker.taken_back -= 1
        self.dirty[worker.id] = None

    def take_back(self, attempt: Attempt, why: str) -> None:
        """Leave an attempt out of the answers; its task waits until that is confirmed.

        Its worker may have begun it meanwhile (23_taken_back).
        """
        if attempt.taken_back:
            return
        attempt.taken_back = True
        worker = self.workers[attempt.worker_id]
        worker.taken_back += 1
        self.dirty[worker.id] = None
        task_id = attempt.id.task
        task = self.jobs[task_id.job_id].task(task_id)
        self.note(task, why, attempt.id.number, worker.id)

    def undo_take_back(self, attempt: Attempt) -> None:
        """Undo `take_back`."""
        attempt.taken_back = False
        self.workers[attempt.worker_id].taken_back -= 1

    def requeue(self, job: LiveJob, task_id: TaskId, delay: float = 0.0) -> None:
        """Make a task idle again, unless it is, is in progress, is won, or its job has ended."""
        if job.record.job_id not in self.jobs or not job.running:
            return
        task = job.task(task_id)
        if task.attempts or task.ticket or job.record.task(task_id).winner is not None:
            return
        self.enqueue(job, task_id, delay)

    def back_off(self, task: LiveTask) -> float:
        """Return the delay of a task's next retry; the first one is at once."""
        task.retries += 1
        return policy.retry_delay(task.retries, self._rng, self.limits)

    # -- jobs ------------------------------------------------------------------------------------

    def end_job(
        self,
        job: LiveJob,
        state: JobState,
        message: str = "",
        failure: TaskFailure | None = None,
        failed_task: TaskId | None = None,
    ) -> None:
        """End a job: its attempts are forgotten, and its workers kill them."""
        for stage in job.stages:
            for attempt in list(stage.attempts.values()):
                self.drop(attempt)
        job_id = job.record.job_id
        del self.jobs[job_id]
        self.record(
            JobEnded(
                job_id=job_id,
                state=state,
                failure=failure,
                failed_task=failed_task,
                message=message,
                wall_seconds=self.wall(),
                tally=job.tally,
            )
        )
        self.stories.keep(job, self.durable.jobs)
        self.ended.append(job_id)
        self.clean_up(job.record)

    def clean_up(self, record: JobRecord) -> None:
        """Have what an ended job leaves removed: once more if that is being done at this moment.

        One that is being done may have looked already (102_late_writer).
        """
        job_id = record.job_id
        if job_id in self.cleaning:
            self.cleaning[job_id] = True
        else:
            self.cleaning[job_id] = False
            self.command(CleanUp(job_id, record.state))

    def on_clean_up_answered(self, job_id: str, *, done: bool) -> None:
        """Take in that a clean-up is over, and whether it could be done."""
        record, again = self.job(job_id), self.cleaning.pop(job_id, False)
        if record is None or not record.state.final:
            return
        if again:
            self.clean_up(record)
        elif done and not record.cleaned:
            self.record(JobCleaned(job_id))

    # -- workers ---------------------------------------------------------------------------------

    def may_work(self, worker: Worker) -> bool:
        """Return whether a worker sees the store (37_no_store), stays (17_drain), and may work.

        One without slots takes nothing, so no task waits for it (60_worker_without_slots).
        """
        blamed = self.now < worker.blamed_until  # 41_bad_worker
        return worker.sees_store and not worker.leaving and not blamed and worker.slots > 0

    def able(self, job: LiveJob, worker: Worker) -> bool:
        """Return whether a worker may work, and is one that can run this job's tasks."""
        spec = job.record.spec
        fits = self.may_work(worker) and resources.suits(spec.resources, worker.about)
        # Needed by test_no_backup_on_a_worker_of_another_version.
        return fits and policy.mismatch(spec.versions, worker.about) is None

    def forget(self, worker: Worker) -> None:
        """Drop a worker that holds nothing."""
        assert not worker.held
        clean_up_after(self, worker.listed, {})
        self.slots -= worker.slots
        del self.workers[worker.id]
        self.last_gone = worker.id
        self.idle_parked.pop(worker.id, None)
        self.dirty.pop(worker.id, None)
