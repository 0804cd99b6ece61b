"""Calls of sessions: what is added, waits for values, ends, and is released.

A call is a task whose work the client has sent. It is queued once every value that it takes is
there, and it fails when one of them never will be. Its end is a fact of the call alone: a session
goes on whatever becomes of its calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from mrcore.master.core import policy
from mrcore.master.core.call_problems import gone, order_problem, passed_on
from mrcore.master.core.call_results import cut, lean
from mrcore.master.core.cluster import Cluster
from mrcore.master.core.commands import DeleteValues
from mrcore.master.core.durable_calls import calls_of, needs_of, output_of
from mrcore.master.core.events import CallsDone, CallsSent, CallsUnwanted, CloseAsked
from mrcore.master.core.facts import (
    CallFailed,
    CallsAdded,
    CallsCancelled,
    CallsReleased,
    SessionClosed,
    TaskWon,
)
from mrcore.master.core.records import CallsRecord, JobRecord
from mrcore.master.core.room import is_short
from mrcore.master.core.volatile import NO_LIVE_TASK, LiveJob, LiveTask
from mrcore.model.calls import CALL_STAGE, CallPlan
from mrcore.model.ids import AttemptId, TaskId
from mrcore.model.job import JobState
from mrcore.model.task import TaskFailure

if TYPE_CHECKING:
    from mrcore.storage.base import ObjectInfo


class Calls:
    """The calls of a cluster's sessions."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.missing: dict[TaskId, int] = {}
        """Values that calls wait for: calls that have them all are not here."""
        self.takers: dict[str, dict[int, dict[TaskId, None]]] = {}
        """Calls that have not ended, by session and number of the calls whose values they take."""
        self.started: dict[str, list[int]] = {}
        """Numbers of calls that have begun, by session, since somebody looked."""

    # -- beginnings ------------------------------------------------------------------------------

    def admit(self, job: LiveJob) -> None:
        """Line up the calls of a session that have not ended, when a master takes over."""
        for index in _calls(job).plans:
            self._line_up(job, index)

    def resume(self, job: LiveJob) -> None:
        """Go on where the former master stopped, be it between two facts of one step.

        What ends a session and those that take its values are facts of their own
        (99_restart_amid_calls).
        """
        for index in list(_calls(job).plans):
            self._fail_without_value(job, index)
        self.finish(job)

    def on_sent(self, event: CallsSent) -> None:
        """Add the calls that are new; none of them if one that comes before is not there.

        All this is played in 91_calls_sent_again.
        """
        job = self._session(event.job_id)
        if job is None or order_problem(self.cluster, event) is not None:
            return
        calls = _calls(job)
        first, known = calls.added, calls.added - event.first
        if calls.closed or known >= len(event.calls):
            return
        self.cluster.record(CallsAdded(event.job_id, first, event.calls[known:]))
        job.stages[CALL_STAGE].tasks.extend(LiveTask() for _ in range(first, calls.added))
        for index in range(first, calls.added):
            self._line_up(job, index)
        # All of them are lined up before one fails, and others with it (93_call_without_value).
        for index in range(first, calls.added):
            self._fail_without_value(job, index)

    def _line_up(self, job: LiveJob, index: int) -> None:
        """Queue a call, or have it wait for values (92_call_that_takes_values)."""
        task_id = TaskId(job.record.job_id, CALL_STAGE, index)
        missing = 0
        for need in needs_of(_calls(job).plans[index]):
            self.takers.setdefault(need.job_id, {}).setdefault(need.index, {})[task_id] = None
            missing += output_of(self.cluster.durable.jobs, need) is None
        if missing:
            self.missing[task_id] = missing
        else:
            self.cluster.enqueue(job, task_id)

    def _fail_without_value(self, job: LiveJob, index: int) -> None:
        """Fail a call where a value that it takes will never be there."""
        plan = _calls(job).plans.get(index)
        # It may have failed with another of its message (93_call_without_value).
        for need in () if plan is None else needs_of(plan):
            calls = calls_of(self.cluster.durable.jobs, need.job_id)
            if calls is None or not calls.may_have_value(need.index):
                self.fail(
                    TaskId(job.record.job_id, CALL_STAGE, index),
                    self._why_without_value(need, calls),
                )
                return

    def _why_without_value(self, need: TaskId, calls: CallsRecord | None) -> TaskFailure:
        ended = None if calls is None else calls.ended.get(need.index)
        if ended is not None:
            return passed_on(need, None if ended.cancelled else ended.failure)
        return gone(need)

    def on_started(self, task_id: TaskId) -> None:
        """Note that a task runs, for the client of its session if it is a call."""
        if self._session(task_id.job_id) is None:
            return
        # A session may be without a watch (test_calls_that_have_begun_are_listed_up_to_a_bound).
        started = self.started.setdefault(task_id.job_id, [])
        if len(started) < self.cluster.limits.calls_started_max:
            started.append(task_id.index)

    def take_started(self, session_id: str) -> list[int]:
        """Return, and forget, the numbers of calls that have begun."""
        return self.started.pop(session_id, [])

    # -- ends ------------------------------------------------------------------------------------

    def on_won(self, job: LiveJob, won: TaskWon) -> None:
        """Record that a call has a value, and queue the calls that waited for nothing else."""
        task_id = won.attempt.task
        plan = _calls(job).plans[task_id.index]
        objects = self._objects_taken([plan])
        output = lean(won.output, short=is_short(self.cluster, _calls(job)))
        self.cluster.record(msgspec.structs.replace(won, output=output))
        self._delete_freed(objects)
        self._leave(task_id, plan)
        for taker in self.takers.get(task_id.job_id, {}).get(task_id.index, ()):
            self.missing[taker] -= 1
            if not self.missing[taker]:
                del self.missing[taker]
                self.cluster.enqueue(self.cluster.jobs[taker.job_id], taker)

    def fail_if_spent(
        self, job: LiveJob, attempt_id: AttemptId, worker_id: str, failure: TaskFailure
    ) -> bool:
        """Fail a call for good if an attempt that has failed was its last; return whether so."""
        record = job.record
        task = record.task(attempt_id.task)
        why = policy.call_verdict(task, failure, record.spec, self.cluster.limits)
        if why is None:
            return False
        kept = msgspec.structs.replace(failure, message=why)
        self._end(
            [
                CallFailed(
                    task=attempt_id.task,
                    failure=cut(kept) if is_short(self.cluster, _calls(job)) else kept,
                    attempt=attempt_id.number,
                    worker_id=worker_id,
                )
            ]
        )
        return True

    def fail(self, task_id: TaskId, failure: TaskFailure) -> None:
        """Fail a call for good that was lost with its workers."""
        self._end([CallFailed(task=task_id, failure=failure)])

    def fail_all(self, job: LiveJob, failure: TaskFailure) -> None:
        """Fail all calls of a session that have not ended (86_calls_that_no_worker_can_run)."""
        session_id = job.record.job_id
        self._end(
            [
                CallFailed(task=TaskId(session_id, CALL_STAGE, index), failure=failure)
                for index in _calls(job).plans
            ]
        )

    def on_unwanted(self, event: CallsUnwanted) -> None:
        """Cancel calls that have not ended; what runs is killed (95_cancelled_calls)."""
        job = self._session(event.job_id)
        if job is None:
            return
        plans = _calls(job).plans
        indexes = tuple(index for index in dict.fromkeys(event.indexes) if index in plans)
        if indexes:
            self._end([CallsCancelled(event.job_id, indexes)])

    def _end(self, facts: Iterable[CallFailed | CallsCancelled]) -> None:
        """End calls without a value, and with them those that take their values."""
        todo = deque(facts)
        while todo:
            fact = todo.popleft()
            ended = _ended_by(fact)
            job = self._session(ended[0].job_id)
            if job is None or ended[0].index not in _calls(job).plans:
                # It takes two values that are missing (93_call_without_value), or has failed with
                # another one of the same step (86_calls_that_no_worker_can_run).
                continue
            plans = [_calls(job).plans[task_id.index] for task_id in ended]
            for task_id in ended:
                self._stop(job, task_id)
            objects = self._objects_taken(plans)
            self.cluster.record(fact)
            self._delete_freed(objects)
            failure = fact.failure if isinstance(fact, CallFailed) else None
            for task_id, plan in zip(ended, plans, strict=True):
                for taker in self.takers.get(task_id.job_id, {}).get(task_id.index, ()):
                    todo.append(CallFailed(task=taker, failure=passed_on(task_id, failure)))
                self._leave(task_id, plan)

    def _stop(self, job: LiveJob, task_id: TaskId) -> None:
        """Take a call out of queue and workers."""
        stage, task = job.stages[CALL_STAGE], job.task(task_id)
        for attempt in list(task.attempts):
            self.cluster.drop(attempt)
        self.cluster.dequeue(stage, task)
        self.missing.pop(task_id, None)
        stage.tasks[task_id.index] = NO_LIVE_TASK

    def _leave(self, task_id: TaskId, plan: CallPlan) -> None:
        """Take an ended call out of those that take the values of others."""
        for need in needs_of(plan):
            takers = self.takers.get(need.job_id, {})
            takers.get(need.index, {}).pop(task_id, None)
            if not takers.get(need.index, True):
                del takers[need.index]
                if not takers:
                    del self.takers[need.job_id]
                self._finish_session(need.job_id)

    def _finish_session(self, session_id: str) -> None:
        """End a session whose last value is not needed any more (97_closed_session)."""
        job = self._session(session_id)
        if job is not None:
            self.finish(job)

    def _objects_taken(self, plans: Iterable[CallPlan]) -> dict[TaskId, ObjectInfo]:
        """Return the objects of the values that calls take."""
        objects = {}
        for plan in plans:
            for need in needs_of(plan):
                output = output_of(self.cluster.durable.jobs, need)
                if output is not None and output.object is not None:
                    objects[need] = output.object
        return objects

    def _delete_freed(self, objects: dict[TaskId, ObjectInfo]) -> None:
        """Delete those of the objects whose values nobody wants any more (96_released_calls)."""
        jobs = self.cluster.durable.jobs
        freed = [info for need, info in objects.items() if output_of(jobs, need) is None]
        self._delete(freed)

    def _delete(self, objects: Sequence[ObjectInfo]) -> None:
        if objects:
            self.cluster.command(DeleteValues(tuple(objects)))

    # -- releases --------------------------------------------------------------------------------

    def on_done(self, event: CallsDone) -> None:
        """Release calls that have ended; a value that others need stays until they have ended.

        All this is played in 96_released_calls.
        """
        job = self._session(event.job_id)
        if job is None:
            return
        calls, record = _calls(job), job.record
        indexes = tuple(index for index in dict.fromkeys(event.indexes) if index in calls.ended)
        if not indexes:
            return
        outputs = [
            record.stages[CALL_STAGE].tasks[index].output
            for index in indexes
            if index not in calls.needed
        ]
        self.cluster.record(CallsReleased(event.job_id, indexes))
        for index in indexes:
            job.stages[CALL_STAGE].tasks[index] = NO_LIVE_TASK
        self._delete([o.object for o in outputs if o is not None and o.object is not None])
        self.finish(job)

    def on_close(self, event: CloseAsked) -> None:
        """Let a session get no more calls, or end it at once (97_closed_session)."""
        job = self._session(event.job_id)
        if job is None:
            return
        if event.message:
            state = JobState.CANCELLED if _calls(job).plans else JobState.SUCCEEDED
            message = event.message if state is JobState.CANCELLED else ""
            self.cluster.end_job(job, state, message)
            return
        if not _calls(job).closed:
            self.cluster.record(SessionClosed(event.job_id))
        self.finish(job)

    def finish(self, job: LiveJob) -> None:
        """End a session that is closed, and of which nothing is left to wait for."""
        calls = _calls(job)
        # A session before it may have ended it already (99_restart_amid_calls).
        if job.running and calls.closed and calls.empty:
            self.cluster.end_job(job, JobState.SUCCEEDED)

    def on_session_ended(self, record: JobRecord) -> None:
        """Fail the calls that take values of a session that has ended, whatever its state.

        All this is played in 98_values_of_an_ended_session.
        """
        job_id = record.job_id
        self.started.pop(job_id, None)
        if record.state is not JobState.SUCCEEDED:  # else none of its calls takes a value any more
            self.missing = {t: n for t, n in self.missing.items() if t.job_id != job_id}
            for session_id, takers in list(self.takers.items()):
                for index in list(takers):
                    takers[index] = {t: None for t in takers[index] if t.job_id != job_id}
                    if not takers[index]:
                        del takers[index]
                if not takers:
                    del self.takers[session_id]
                self._finish_session(session_id)
        takers = self.takers.get(job_id, {})
        orphans = [
            (TaskId(job_id, CALL_STAGE, index), t) for index in takers for t in takers[index]
        ]
        self._end(CallFailed(task=taker, failure=gone(need)) for need, taker in orphans)

    def _session(self, job_id: str) -> LiveJob | None:
        job = self.cluster.jobs.get(job_id)
        return job if job is not None and job.record.calls is not None else None


def _calls(job: LiveJob) -> CallsRecord:
    calls = job.record.calls
    assert calls is not None, f"{job.record.job_id} is not a session"
    return calls


def _ended_by(fact: CallFailed | CallsCancelled) -> list[TaskId]:
    if isinstance(fact, CallFailed):
        return [fact.task]
    return [TaskId(fact.job_id, CALL_STAGE, index) for index in fact.indexes]
