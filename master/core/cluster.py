"""The state of the machine and the few operations that keep its indexes true.

The machine (`machine`) decides; what it decides becomes an assignment, a release, a place in a
queue or a fact through the methods here. Each of them keeps every invariant of `invariants`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mrcore.master.core import heaps, policy
from mrcore.master.core.commands import CleanUp, Command, Reply
from mrcore.master.core.durable import Durable
from mrcore.master.core.ended import Stories
from mrcore.master.core.facts import Fact, JobEnded, WorkerJoined
from mrcore.master.core.limits import Limits
from mrcore.master.core.records import JobRecord
from mrcore.master.core.volatile import Attempt, LiveJob, LiveStage, LiveTask, Worker
from mrcore.model.attempts import Assignment, AttemptState
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobState
from mrcore.model.stages import StagePlan
from mrcore.model.task import TaskFailure

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - the type only: a generator is always passed in


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step gave. The facts must be durable BEFORE any of its commands is obeyed."""

    facts: list[Fact] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)


class Core:
    """Jobs, workers and queues, with the operations that keep them consistent."""

    def __init__(self, limits: Limits, rng: Random) -> None:
        self.limits = limits
        self.now = float("-inf")
        self._rng = rng
        self._durable = Durable()
        self._jobs: dict[str, LiveJob] = {}
        self._told = Stories(limits)
        self._workers: dict[str, Worker] = {}
        self.last_gone = ""
        """The worker that was lost, or has left, most recently."""
        self._outcome = Outcome()
        self._ended: list[str] = []
        """Jobs that ended in this step, and for which others may have waited."""
        self._wall_offset = 0.0
        self._number = 0
        """Of the newest attempt of this epoch."""
        self._tickets = 0
        self._turns = 0
        self._slots = 0
        """Of all workers together."""
        self._delayed: list[tuple[float, int, TaskId]] = []
        """(due, ticket, task): idle tasks whose back-off has not ended."""
        self._timers: list[tuple[float, str]] = []
        """(when, worker): answers to parked requests and ends of leases."""
        self._alarm: float | None = None
        """When a hungry worker that could be given nothing should be looked at again."""
        self._hungry: dict[str, None] = {}
        """Parked workers with a free slot, longest waiting first."""
        self._touched: dict[str, None] = {}
        """Workers whose wanted attempts have changed in this step."""
        self._review_at = float("-inf")
        """Stragglers are not looked for before, and only while a worker is hungry."""
        self._awaited: dict[str, None] = {}
        """After a take-over: workers that may hold attempts and have not synchronised yet."""
        self._wait_until: float | None = None
        """After a take-over: nothing is assigned before, or until all awaited have reported.

        Each of them may run an attempt for hours that no fact mentions.
        """

    # -- reading ---------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Return the epoch that this machine acts in."""
        return self._durable.epoch

    def durable(self) -> Durable:
        """Return what the facts have built: comparable, encodable, not to be changed."""
        return self._durable

    def job(self, job_id: str) -> JobRecord | None:
        """Return one job, live or remembered."""
        return self._durable.jobs.get(job_id)

    def job_of_request(self, request_id: str) -> str | None:
        """Return the id of the job that this submission made, if it is remembered."""
        return self._durable.requests.get(request_id)

    def live_jobs(self) -> list[JobRecord]:
        """Return the jobs that have not ended, oldest first."""
        return [job.record for job in self._jobs.values()]

    def live_job(self, job_id: str) -> LiveJob | None:
        """Return the volatile half of a job that has not ended."""
        return self._jobs.get(job_id)

    def told_job(self, job_id: str) -> LiveJob | None:
        """Return the volatile half of a live job, or of one that ended lately: for display."""
        return self._jobs.get(job_id) or self._told.get(job_id)

    def workers(self) -> list[Worker]:
        """Return the workers that are not forgotten, by id."""
        return [self._workers[worker_id] for worker_id in sorted(self._workers)]

    def worker(self, worker_id: str) -> Worker | None:
        """Return one worker, unless it is unknown or forgotten."""
        return self._workers.get(worker_id)

    def stories(self) -> Stories:
        """Return the jobs whose stories outlive them."""
        return self._told

    def delayed_tasks(self) -> list[tuple[float, int, TaskId]]:
        """Return (due, ticket, task) of the back-offs; void where the task has another ticket."""
        return list(self._delayed)

    def timers(self) -> list[tuple[float, str]]:
        """Return (when, worker) of the timers; void where the worker has another time."""
        return self._timers

    def awaited(self) -> list[str]:
        """Return the workers of the former master that have not reported to this one."""
        return list(self._awaited)

    @property
    def waiting(self) -> bool:
        """Return whether a take-over still waits for the workers of its predecessor."""
        return self._wait_until is not None

    def has_room(self, *coming: tuple[StagePlan, ...], known: int = 0) -> bool:
        """Return whether jobs with these stages may be submitted now.

        `known` of them are live already: they have waited, and get their stages now.
        """
        live = [tuple(stage.plan for stage in job.record.stages) for job in self._jobs.values()]
        jobs = [*live, *coming]
        return (
            sum(map(policy.task_count, jobs)) <= self.limits.live_tasks_max
            and sum(map(policy.section_count, jobs)) <= self.limits.live_sections_max
            and len(jobs) - known <= self.limits.live_jobs_max
        )

    # -- facts and commands ----------------------------------------------------------------------

    def apply(self, fact: Fact) -> None:
        """Take in a fact of the journal: the only way in which durable state changes."""
        self._durable.apply(fact, self.limits)

    def _record(self, fact: Fact) -> None:
        self.apply(fact)
        self._outcome.facts.append(fact)

    def _command(self, command: Command) -> None:
        self._outcome.commands.append(command)

    def _wall(self) -> float:
        """Return the wall clock as the shell last told it, for people to read."""
        return self.now + self._wall_offset

    def _tell(self, task: LiveTask, what: str, number: AttemptNumber | None, where: str) -> None:
        story = task.story
        story.append((self._wall(), what, number, where))
        if len(story) > self.limits.story_lines:
            del story[0]

    # -- queues ----------------------------------------------------------------------------------

    def _enqueue(self, job: LiveJob, task_id: TaskId, delay: float = 0.0) -> None:
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
            valid = sum(each.delayed for job in self._jobs.values() for each in job.stages)
            most = 2 * valid + self.limits.void_entries_max
            heaps.push(self._delayed, entry, most, self._is_delayed)
        else:
            stage.ready += 1
            stage.queue(task_id.index, task.ticket, self.limits)

    def _dequeue(self, stage: LiveStage, task: LiveTask) -> None:
        """Take an idle task out of its queue; its entry there is void from now on."""
        if task.ticket == 0:
            return
        task.ticket = 0
        if task.delayed:
            task.delayed = False
            stage.delayed -= 1
        else:
            stage.ready -= 1

    def _is_delayed(self, entry: tuple[float, int, TaskId]) -> bool:
        _, ticket, task_id = entry
        job = self._jobs.get(task_id.job_id)
        task = None if job is None else job.task(task_id)
        return task is not None and task.delayed and task.ticket == ticket

    # -- attempts --------------------------------------------------------------------------------

    def _assign(self, job: LiveJob, task_id: TaskId, worker: Worker) -> None:
        """Give a new attempt of a task to a worker; its next answer carries it."""
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
        self._hold(job, attempt, worker)
        self._turns += 1
        job.turn = self._turns
        job.started += 1
        job.newest = attempt_id.number
        self._tell(job.task(task_id), "assigned", attempt_id.number, worker.id)

    def _next_number(self) -> AttemptNumber:
        self._number += 1
        return AttemptNumber(self.epoch, self._number)

    def _hold(self, job: LiveJob, attempt: Attempt, worker: Worker) -> None:
        """Enter an attempt, new or adopted, into every index."""
        task_id = attempt.id.task
        stage, task = job.stages[task_id.stage], job.task(task_id)
        assert job.record.task(task_id).winner is None, f"{task_id} has a winner already"
        self._dequeue(stage, task)
        if not task.attempts:
            stage.busy += 1
        task.attempts.append(attempt)
        stage.attempts[attempt.id] = attempt
        worker.held[attempt.id] = attempt
        if worker.id not in self._durable.workers:
            self._record(WorkerJoined(worker.id))
        others = worker.lease_seconds if len(worker.held) > 1 else attempt.lease_seconds
        worker.lease_seconds = min(others, attempt.lease_seconds)

    def _drop(self, attempt: Attempt) -> None:
        """Forget an attempt: it ended, or nobody needs it. The caller queues the task if need be.

        Its worker is told by leaving the attempt out of the next answer.
        """
        task_id = attempt.id.task
        stage = self._jobs[task_id.job_id].stages[task_id.stage]
        task = stage.tasks[task_id.index]
        task.attempts.remove(attempt)
        if not task.attempts:
            stage.busy -= 1
        del stage.attempts[attempt.id]
        worker = self._workers[attempt.worker_id]
        del worker.held[attempt.id]
        if attempt.taken_back:
            worker.taken_back -= 1
        self._touched[worker.id] = None

    def _take_back(self, attempt: Attempt, why: str) -> None:
        """Leave an attempt out of the answers; its task waits until the worker confirms."""
        if attempt.taken_back:
            return
        attempt.taken_back = True
        worker = self._workers[attempt.worker_id]
        worker.taken_back += 1
        self._touched[worker.id] = None
        task_id = attempt.id.task
        task = self._jobs[task_id.job_id].task(task_id)
        self._tell(task, why, attempt.id.number, worker.id)

    def _leave_with(self, attempt: Attempt) -> None:
        """Undo `_take_back`."""
        attempt.taken_back = False
        self._workers[attempt.worker_id].taken_back -= 1

    def _requeue(self, job: LiveJob, task_id: TaskId, delay: float = 0.0) -> None:
        """Make a task idle again, unless it is, is in progress, is won, or its job has ended."""
        if job.record.job_id not in self._jobs or not job.running:
            return
        task = job.task(task_id)
        if task.attempts or task.ticket or job.record.task(task_id).winner is not None:
            return
        self._enqueue(job, task_id, delay)

    def _back_off(self, task: LiveTask) -> float:
        """Return the delay of a task's next retry; the first one is at once."""
        task.retries += 1
        return policy.retry_delay(task.retries, self._rng, self.limits)

    # -- jobs ------------------------------------------------------------------------------------

    def _end_job(
        self,
        job: LiveJob,
        state: JobState,
        message: str = "",
        failure: TaskFailure | None = None,
        failed_task: TaskId | None = None,
    ) -> None:
        """End a job: its attempts are forgotten, its workers are told to kill them."""
        for stage in job.stages:
            for attempt in list(stage.attempts.values()):
                self._drop(attempt)
        job_id = job.record.job_id
        del self._jobs[job_id]
        self._record(
            JobEnded(
                job_id=job_id,
                state=state,
                failure=failure,
                failed_task=failed_task,
                message=message,
                wall_seconds=self._wall(),
                tally=job.tally,
            )
        )
        self._told.keep(job, self._durable.jobs)
        self._ended.append(job_id)
        self._command(CleanUp(job_id, state))

    # -- workers and timers ----------------------------------------------------------------------

    def _lease_end(self, worker: Worker) -> float:
        return worker.lease_from + worker.lease_seconds

    def _set_timer(self, worker: Worker) -> None:
        """Make sure that the machine looks at a worker when its answer or its lease is due."""
        due = self._lease_end(worker)
        if worker.parked:
            due = min(due, worker.answer_at)
        if worker.timer <= self.now or due < worker.timer:
            worker.timer = due
            most = 2 * len(self._workers) + self.limits.void_entries_max
            heaps.push(self._timers, (due, worker.id), most, self._is_set)

    def _is_set(self, entry: tuple[float, str]) -> bool:
        worker = self._workers.get(entry[1])
        return worker is not None and worker.timer == entry[0]

    def _sync_seconds(self, worker: Worker) -> float:
        third = worker.lease_seconds / self.limits.parks_per_lease
        return min(third, self.limits.sync_max_seconds)

    def _forget(self, worker: Worker) -> None:
        """Drop a worker that holds nothing."""
        assert not worker.held
        self._slots -= worker.slots
        del self._workers[worker.id]
        self.last_gone = worker.id
        self._hungry.pop(worker.id, None)
        self._touched.pop(worker.id, None)

    def _has_news(self, worker: Worker) -> bool:
        """Return whether the newest request of a worker deserves an answer at once."""
        if worker.leaving and not (worker.draining or worker.drain_told):
            return True
        if worker.leaving and not worker.held:
            return True
        if worker.active != len(worker.listed):
            return True
        for attempt in worker.held.values():
            if not attempt.taken_back and attempt.id not in worker.listed:
                return True
        return any(held is AttemptState.FINISHED for held in worker.listed.values())

    def _answer(self, worker: Worker) -> None:
        """Tell a worker everything that it should hold."""
        worker.parked = False
        worker.lease_from = self.now
        worker.drain_told = worker.leaving
        worker.leave_told = leave = worker.leaving and not worker.held
        self._hungry.pop(worker.id, None)
        self._command(
            Reply(
                worker.id,
                worker.session,
                worker.sequence,
                tuple(a.wanted for a in worker.held.values() if not a.taken_back),
                drain=worker.leaving,
                leave=leave,
                sync_seconds=self._sync_seconds(worker),
            )
        )
