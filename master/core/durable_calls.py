"""Facts of calls, taken into the records of their sessions.

A call that has ended and is released costs nothing but its place in the list of tasks.
"""

from __future__ import annotations

from typing import Final, assert_never

import msgspec

from mrcore.master.core.ended import without_bytes
from mrcore.master.core.facts import (
    CallFailed,
    CallsAdded,
    CallsCancelled,
    CallsReleased,
    SessionClosed,
)
from mrcore.master.core.limits import Limits
from mrcore.master.core.records import (
    CallFailure,
    CallsRecord,
    JobRecord,
    RecentFailure,
    TaskRecord,
)
from mrcore.model.calls import CALL_STAGE, CallPlan
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobState
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput

Jobs = dict[str, JobRecord]
CallFact = CallsAdded | CallFailed | CallsCancelled | CallsReleased | SessionClosed

NO_TASK: Final = TaskRecord(winner=AttemptNumber(0, 0))
"""Stands for every task whose call has failed or is released: one for all of them."""
CANCELLED: Final = CallFailure(
    TaskFailure(kind=FailureKind.USER, message="The call was cancelled."), cancelled=True
)
_CALL_BYTES: Final = 1_500
"""Memory of a call beside its arguments or its value."""
_NEED_BYTES: Final = 250
_CALLS_MAX: Final = 1 << 24
"""Calls that a session in a snapshot may have had: more are damage, and would take all memory."""


def calls_of(jobs: Jobs, session_id: str) -> CallsRecord | None:
    """Return the calls of a session that has not ended; None for any other job."""
    job = jobs.get(session_id)
    return None if job is None or job.state.final else job.calls


def output_of(jobs: Jobs, call: TaskId) -> TaskOutput | None:
    """Return what a call has left, its value among that; None where it has left none.

    The call need not exist (91_calls_sent_again).
    """
    calls = calls_of(jobs, call.job_id)
    if calls is None or not calls.has_value(call.index):
        return None
    return jobs[call.job_id].task(call).output


def apply(jobs: Jobs, fact: CallFact, limits: Limits) -> None:
    """Take in a fact of calls."""
    job, calls = _running(jobs, fact.task.job_id if isinstance(fact, CallFailed) else fact.job_id)
    match fact:
        case CallsAdded():
            _add(jobs, job, calls, fact)
        case CallFailed():
            _fail(jobs, job, fact, limits)
        case CallsCancelled():
            for index in fact.indexes:
                _end_without_value(jobs, job, index, CANCELLED)
            calls.cancelled += len(fact.indexes)
        case CallsReleased():
            for index in fact.indexes:
                _release(job, calls, index)
        case SessionClosed():
            assert not calls.closed, f"{fact.job_id} closed twice"
            calls.closed = True
        case _:
            assert_never(fact)


def win(jobs: Jobs, job: JobRecord, index: int) -> None:
    """Take in that a call has a value, which its task has got."""
    assert job.calls is not None
    task = job.stages[CALL_STAGE].tasks[index]
    task.last_failure = None
    task.culprits, task.skip = [], ()
    _end(jobs, job.calls, index, None)
    job.calls.kept_bytes += weight_of_output(task)


def drop(jobs: Jobs, job: JobRecord) -> None:
    """Forget the calls of a session that has ended, but for their numbers."""
    calls = job.calls
    assert calls is not None
    plans, calls.plans = calls.plans, {}
    job.stages[CALL_STAGE].tasks = []
    for plan in plans.values():
        _let_go(jobs, plan)
    calls.ended, calls.needed, calls.retained = {}, {}, {}
    calls.kept_bytes = 0


def packed(job: JobRecord) -> JobRecord:
    """Return a job to encode: a session without the tasks of calls that are over.

    A snapshot would have one of them for each, and whoever reads it would make them all.
    """
    if job.calls is None or job.state.final:
        return job
    stages = list(job.stages)
    tasks = [stages[CALL_STAGE].tasks[index] for index in _with_task(job.calls)]
    stages[CALL_STAGE] = msgspec.structs.replace(stages[CALL_STAGE], tasks=tasks)
    return msgspec.structs.replace(job, stages=stages)


def unpack(job: JobRecord) -> None:
    """Add the tasks of calls that are over to a decoded session; raise ValueError if it has others.

    A session that was not packed has them all, and is left with one task for them.
    """
    if job.calls is None or job.state.final:
        return
    indexes = _with_task(job.calls)
    if not 0 <= job.calls.added <= _CALLS_MAX:
        raise ValueError(f"session {job.job_id} has {job.calls.added} calls")
    is_within = not indexes or (indexes[0] >= 0 and indexes[-1] < job.calls.added)
    if len(job.stages) <= CALL_STAGE or not is_within:
        raise ValueError(f"session {job.job_id} has calls that were not added")
    stage = job.stages[CALL_STAGE]
    if len(stage.tasks) == job.calls.added:
        kept = [stage.tasks[index] for index in indexes]
    elif len(stage.tasks) == len(indexes):
        kept = stage.tasks
    else:
        raise ValueError(f"session {job.job_id} has {len(stage.tasks)} tasks")
    stage.tasks = [NO_TASK] * job.calls.added
    for index, task in zip(indexes, kept, strict=True):
        stage.tasks[index] = task


def _with_task(calls: CallsRecord) -> list[int]:
    """Return the calls that have a task of their own: the others have failed or are released."""
    with_value = (index for index, failure in calls.ended.items() if failure is None)
    return sorted({*calls.plans, *calls.retained, *with_value})


def needs_of(plan: CallPlan) -> tuple[TaskId, ...]:
    """Return the calls whose values a call takes, each once."""
    return tuple(dict.fromkeys(plan.needs)) if plan.needs else ()


def _running(jobs: Jobs, job_id: str) -> tuple[JobRecord, CallsRecord]:
    job = jobs[job_id]
    assert job.state is JobState.RUNNING, f"{job_id} is {job.state}"
    assert job.calls is not None, f"{job_id} is not a session"
    return job, job.calls


def _add(jobs: Jobs, job: JobRecord, calls: CallsRecord, fact: CallsAdded) -> None:
    assert not calls.closed, f"{fact.job_id} gets calls after its end"
    assert fact.first == calls.added, f"{fact.job_id} has {calls.added} calls, not {fact.first}"
    tasks = job.stages[CALL_STAGE].tasks
    for index, plan in enumerate(fact.calls, fact.first):
        for need in needs_of(plan):
            other = calls_of(jobs, need.job_id)
            if other is not None:  # else the call fails in the same step
                other.needed[need.index] = other.needed.get(need.index, 0) + 1
        tasks.append(TaskRecord())
        calls.plans[index] = plan
        calls.kept_bytes += weight_of_plan(plan)
    calls.added += len(fact.calls)


def _fail(jobs: Jobs, job: JobRecord, fact: CallFailed, limits: Limits) -> None:
    assert job.calls is not None
    job.calls.failed += 1
    if fact.attempt is not None:  # else it never ran (93_call_without_value)
        attempt = AttemptId(fact.task, fact.attempt)
        recent = RecentFailure(attempt, fact.worker_id, without_bytes(fact.failure))
        job.count_failure(recent, limits.recent_failures_max)
    _end_without_value(jobs, job, fact.task.index, CallFailure(fact.failure))


def _end_without_value(jobs: Jobs, job: JobRecord, index: int, failure: CallFailure) -> None:
    assert job.calls is not None
    stage = job.stages[CALL_STAGE]
    stage.completed += 1
    stage.tasks[index] = NO_TASK
    _end(jobs, job.calls, index, failure)
    job.calls.kept_bytes += weight_of_failure(failure)


def _end(jobs: Jobs, calls: CallsRecord, index: int, failure: CallFailure | None) -> None:
    plan = calls.plans.pop(index)
    calls.kept_bytes -= weight_of_plan(plan)
    calls.ended[index] = failure
    _let_go(jobs, plan)


def _let_go(jobs: Jobs, plan: CallPlan) -> None:
    """Count a call out that took values; those that nobody wants any more go."""
    for need in needs_of(plan):
        other = calls_of(jobs, need.job_id)
        if other is None:  # it has ended since (98_values_of_an_ended_session)
            continue
        other.needed[need.index] -= 1
        if not other.needed[need.index]:
            del other.needed[need.index]
            if need.index in other.retained:
                del other.retained[need.index]
                _drop_value(jobs[need.job_id], other, need.index)


def _release(job: JobRecord, calls: CallsRecord, index: int) -> None:
    failure = calls.ended.pop(index)
    if failure is not None:
        calls.kept_bytes -= weight_of_failure(failure)
    elif index in calls.needed:  # 96_released_calls
        calls.retained[index] = None
    else:
        _drop_value(job, calls, index)


def _drop_value(job: JobRecord, calls: CallsRecord, index: int) -> None:
    tasks = job.stages[CALL_STAGE].tasks
    calls.kept_bytes -= weight_of_output(tasks[index])
    tasks[index] = NO_TASK


def weight_of_plan(plan: CallPlan) -> int:
    """Return about what a call takes in memory until it ends."""
    return _CALL_BYTES + len(plan.arguments) + _NEED_BYTES * len(plan.needs)


def weight_of_output(task: TaskRecord) -> int:
    """Return about what a value takes in memory until it is dropped."""
    output = task.output
    assert output is not None
    return _CALL_BYTES + len(output.result) + len(output.printed)


def weight_of_failure(failure: CallFailure) -> int:
    """Return about what a failure takes in memory until the call is released."""
    told = failure.failure
    texts = len(told.message) + len(told.traceback)
    return _CALL_BYTES + texts + len(told.exception) + len(told.printed)
