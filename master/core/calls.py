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

from mrcore.master.core import durable_calls, policy
from mrcore.master.core.cluster import Cluster
from mrcore.master.core.commands import DeleteValues
from mrcore.master.core.durable_calls import needs_of
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
from mrcore.master.core.volatile import LiveJob, LiveTask
from mrcore.model.calls import CALL_STAGE, CallPlan
from mrcore.model.ids import AttemptId, TaskId
from mrcore.model.job import JobState
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput

if TYPE_CHECKING:
    from mrcore.storage.base import ObjectInfo

_PASSED_ON_BYTES = 8_192
"""A longer exception is not passed on to the calls that wanted the value."""
_CAUSE_CHARACTERS = 1_000
"""Length of what those say about the failure."""


class Calls:
    """The calls of a cluster's sessions."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.missing: dict[TaskId, int] = {}
        """Values that calls wait for: calls that have them all are not here."""
        self.takers: dict[str, dict[int, dict[TaskId, None]]] = {}
        """Calls that have not ended, by session and number of the calls whose values they take."""
        self._started: dict[str, list[int]] = {}
        """Numbers of calls that have begun, by session, since somebody looked."""

    # -- beginnings ------------------------------------------------------------------------------

    def admit(self, job: LiveJob) -> None:
        """Line up the calls of a session that have not ended, when a master takes over."""
        for index in _calls(job).plans:
            self._line_up(job, index)

    def resume(self, job: LiveJob) -> None:
        """Go on where the former master stopped, be it between two facts of one step."""
        for index in list(_calls(job).plans):
            self._fail_without_value(job, index)
        self.finish(job)

    def on_sent(self, event: CallsSent) -> None:
        """Add the calls that are new; none of them if one that comes before is not there."""
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
        for index in range(first, calls.added):
            self._fail_without_value(job, index)

    def _line_up(self, job: LiveJob, index: int) -> None:
        """Queue a call, or have it wait for values."""
        task_id = TaskId(job.record.job_id, CALL_STAGE, index)
        missing = 0
        for need in needs_of(_calls(job).plans[index]):
            self.takers.setdefault(need.job_id, {}).setdefault(need.index, {})[task_id] = None
            calls = durable_calls.calls_of(self.cluster.durable.jobs, need.job_id)
            missing += calls is None or not calls.has_value(need.index)
        if missing:
            self.missing[task_id] = missing
        else:
            self.cluster.enqueue(job, task_id)

    def _fail_without_value(self, job: LiveJob, index: int) -> None:
        """Fail a call where a value that it takes will never be there."""
        plan = _calls(job).plans.get(index)
        for need in () if plan is None else needs_of(plan):
            calls = durable_calls.calls_of(self.cluster.durable.jobs, need.job_id)
            if calls is None or not calls.may_have_value(need.index):
                self.fail(
                    TaskId(job.record.job_id, CALL_STAGE, index),
                    self._why_without_value(need, calls),
                )
                return

    def _why_without_value(self, need: TaskId, calls: CallsRecord | None) -> TaskFailure:
        ended = None if calls is None else calls.ended.get(need.index)
        if ended is not None:
            return passed_on(need, ended.failure, cancelled=ended.cancelled)
        return gone(need)

    def on_started(self, task_id: TaskId) -> None:
        """Note that a task runs, for the client of its session if it is a call."""
        if self._session(task_id.job_id) is None:
            return
        started = self._started.setdefault(task_id.job_id, [])
        if len(started) < self.cluster.limits.calls_started_max:
            started.append(task_id.index)

    def take_started(self, session_id: str) -> list[int]:
        """Return, and forget, the numbers of calls that have begun."""
        return self._started.pop(session_id, [])

    # -- ends ------------------------------------------------------------------------------------

    def on_won(self, job: LiveJob, won: TaskWon) -> None:
        """Record that a call has a value, and queue the calls that waited for nothing else."""
        task_id = won.attempt.task
        plan = _calls(job).plans[task_id.index]
        objects = self._retained_objects([plan])
        self.cluster.record(msgspec.structs.replace(won, output=_lean(won.output)))
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
        self._end(
            [
                CallFailed(
                    task=attempt_id.task,
                    failure=msgspec.structs.replace(failure, message=why),
                    attempt=attempt_id.number,
                    worker_id=worker_id,
                )
            ]
        )
        return True

    def fail(self, task_id: TaskId, failure: TaskFailure) -> None:
        """Fail a call for good that was lost with its workers."""
        self._end([CallFailed(task=task_id, failure=failure)])

    def on_unwanted(self, event: CallsUnwanted) -> None:
        """Cancel calls that have not ended; what runs is killed."""
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
        sessions: dict[str, None] = {}
        while todo:
            fact = todo.popleft()
            ended = _ended_by(fact)
            job = self._session(ended[0].job_id)
            if job is None or ended[0].index not in _calls(job).plans:
                continue  # two of the values that it takes are missing
            plans = [_calls(job).plans[task_id.index] for task_id in ended]
            for task_id in ended:
                self._stop(job, task_id)
            objects = self._retained_objects(plans)
            self.cluster.record(fact)
            self._delete_freed(objects)
            sessions[job.record.job_id] = None
            failure = fact.failure if isinstance(fact, CallFailed) else None
            for task_id, plan in zip(ended, plans, strict=True):
                for taker in self.takers.get(task_id.job_id, {}).get(task_id.index, ()):
                    todo.append(CallFailed(task=taker, failure=passed_on(task_id, failure)))
                self._leave(task_id, plan)
        for job_id in sessions:
            self._finish_session(job_id)

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
        job = self.cluster.jobs.get(session_id)
        if job is not None:
            self.finish(job)

    def _retained_objects(self, plans: Iterable[CallPlan]) -> dict[TaskId, ObjectInfo]:
        """Return the objects of released values that calls take."""
        objects = {}
        for plan in plans:
            for need in needs_of(plan):
                calls = durable_calls.calls_of(self.cluster.durable.jobs, need.job_id)
                if calls is not None and need.index in calls.retained:
                    output = self.cluster.durable.jobs[need.job_id].task(need).output
                    if output is not None and output.object is not None:
                        objects[need] = output.object
        return objects

    def _delete_freed(self, objects: dict[TaskId, ObjectInfo]) -> None:
        """Delete those of the objects whose values nobody wants any more."""
        jobs = self.cluster.durable.jobs
        freed = [
            info for need, info in objects.items() if durable_calls.output_of(jobs, need) is None
        ]
        self._delete(freed)

    def _delete(self, objects: Sequence[ObjectInfo]) -> None:
        if objects:
            self.cluster.command(DeleteValues(tuple(objects)))

    # -- releases --------------------------------------------------------------------------------

    def on_done(self, event: CallsDone) -> None:
        """Release calls that have ended; a value that others need stays until they have ended."""
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
            if calls.ended[index] is None and index not in calls.needed
        ]
        self.cluster.record(CallsReleased(event.job_id, indexes))
        for index in indexes:
            job.stages[CALL_STAGE].tasks[index] = NO_LIVE_TASK
        self._delete([o.object for o in outputs if o is not None and o.object is not None])
        self.finish(job)

    def on_close(self, event: CloseAsked) -> None:
        """Let a session get no more calls, or end it at once."""
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
        if not job.running or not calls.closed:
            return
        if calls.empty:
            self.cluster.end_job(job, JobState.SUCCEEDED)

    def on_session_ended(self, record: JobRecord) -> None:
        """Fail the calls that take values of a session that has ended, whatever its state."""
        job_id = record.job_id
        self._started.pop(job_id, None)
        if record.state is not JobState.SUCCEEDED:
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
        return job if job is not None and job.running and job.record.calls is not None else None


NO_LIVE_TASK = LiveTask()
"""Stands for every call that is over: one for all of them, which nobody changes."""


def _calls(job: LiveJob) -> CallsRecord:
    calls = job.record.calls
    assert calls is not None, f"{job.record.job_id} is not a session"
    return calls


def _ended_by(fact: CallFailed | CallsCancelled) -> list[TaskId]:
    if isinstance(fact, CallFailed):
        return [fact.task]
    return [TaskId(fact.job_id, CALL_STAGE, index) for index in fact.indexes]


def _lean(output: TaskOutput) -> TaskOutput:
    """Return what is kept of what a call has left."""
    return TaskOutput(
        object=output.object,
        result=output.result,
        printed=output.printed,
        elapsed_seconds=output.elapsed_seconds,
        class_a=output.class_a,
        class_b=output.class_b,
    )


def passed_on(need: TaskId, failure: TaskFailure | None, *, cancelled: bool = False) -> TaskFailure:
    """Return why a call fails whose argument is the result of one that failed, or was cancelled."""
    name = f"The argument that is the result of call-{need.index:05d} of {need.job_id}"
    if failure is None or cancelled:
        return TaskFailure(kind=FailureKind.USER, message=f"{name} was cancelled.")
    return TaskFailure(
        kind=failure.kind,
        message=f"{name} failed: {failure.message}"[:_CAUSE_CHARACTERS],
        traceback=failure.traceback,
        exception=failure.exception if len(failure.exception) <= _PASSED_ON_BYTES else b"",
    )


def gone(need: TaskId) -> TaskFailure:
    """Return why a call fails whose argument is the result of one that is not known any more."""
    message = (
        f"The argument that is the result of call-{need.index:05d} of {need.job_id} is gone: "
        "it was released, or its session has ended. Keep its future until it has been used."
    )
    return TaskFailure(kind=FailureKind.USER, message=message)


def order_problem(cluster: Cluster, event: CallsSent) -> str | None:
    """Return why calls cannot be added yet: one before them, or one that they need, is missing."""
    job = cluster.durable.jobs.get(event.job_id)
    if job is None or job.calls is None:
        return None
    if event.first > job.calls.added:
        return (
            f"Call {event.first} of {event.job_id} was sent before call {job.calls.added}. Send "
            "the calls in order."
        )
    for index, plan in enumerate(event.calls, event.first):
        for need in plan.needs:
            other = durable_calls.calls_of(cluster.durable.jobs, need.job_id)
            known = index if need.job_id == event.job_id else other.added if other else None
            closed = other is not None and other.closed and need.job_id != event.job_id
            if known is not None and need.index >= known and not closed:
                return (
                    f"Call {index} of {event.job_id} takes the value of call {need.index} of "
                    f"{need.job_id}, which has not been added yet. Send that one first."
                )
    return None
