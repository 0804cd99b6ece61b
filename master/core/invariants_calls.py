"""Invariants of sessions, asserted after every step. Each assertion says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcore.master.core import durable_calls
from mrcore.master.core.durable_calls import NO_TASK, calls_of, needs_of
from mrcore.master.core.records import CallsRecord, JobRecord
from mrcore.model.calls import CALL_STAGE
from mrcore.model.ids import TaskId

if TYPE_CHECKING:
    from mrcore.master.core.calls import Calls
    from mrcore.master.core.cluster import Cluster


def waits(cluster: Cluster, task_id: TaskId) -> bool:
    """Return whether a task is a call that waits for values, and so is in no queue."""
    record = cluster.job(task_id.job_id)
    plan = None if record is None or record.calls is None else record.calls.plans.get(task_id.index)
    jobs = cluster.durable.jobs
    return plan is not None and any(
        durable_calls.output_of(jobs, need) is None for need in needs_of(plan)
    )


def check(cluster: Cluster, record: JobRecord, calls: CallsRecord) -> None:
    """Assert what holds of a session; O(its calls)."""
    stage, name = record.stages[CALL_STAGE], record.job_id
    if record.state.final:
        left = (calls.plans, calls.ended, calls.retained, calls.needed, stage.tasks)
        assert not any(left), f"{name} has ended and keeps calls"
        return
    assert len(stage.tasks) == calls.added, f"{name} has a task for each call"
    assert stage.completed == calls.added - len(calls.plans), f"{name} counts ends"
    assert not calls.plans.keys() & calls.ended.keys(), f"{name} has calls that run and have ended"
    weight = 0
    for index, task in enumerate(stage.tasks):
        assert index in calls.plans or task.last_failure is None, f"{name} keeps old failures"
        kept = index in calls.retained or calls.ended.get(index, NO_TASK) is None
        assert (task.output is not None) == kept, f"{name} keeps the values that may be taken"
        assert (task is NO_TASK or task == NO_TASK) == (not kept and index not in calls.plans)
        weight += durable_calls.weight_of_output(task) if kept else 0
    for index, plan in calls.plans.items():
        task = stage.tasks[index]
        weight += durable_calls.weight_of_plan(plan)
        assert task.winner is None, f"{name} has a plan for call {index}, which has a value"
        assert task.raised <= (record.spec.session.retries if record.spec.session else 0)
    failures = [failure for failure in calls.ended.values() if failure is not None]
    weight += sum(map(durable_calls.weight_of_failure, failures))
    assert calls.kept_bytes == weight, f"{name} weighs its calls"
    done = not (calls.plans or calls.ended or calls.retained)
    assert not (calls.closed and done), f"{name} is closed, and nothing is left of it: it ends"


def check_waits(calls: Calls) -> None:
    """Assert that the lists of who waits for which value, and of what has begun, are exact.

    Each value that calls take may come and is counted, and no other is retained.
    """
    cluster, jobs = calls.cluster, calls.cluster.durable.jobs
    missing: dict[TaskId, int] = {}
    takers: dict[str, dict[int, set[TaskId]]] = {}
    for record in cluster.live_jobs():
        for index, plan in () if record.calls is None else record.calls.plans.items():
            task_id = TaskId(record.job_id, CALL_STAGE, index)
            for need in needs_of(plan):
                takers.setdefault(need.job_id, {}).setdefault(need.index, set()).add(task_id)
                source = calls_of(jobs, need.job_id)
                assert source is not None, f"{task_id} takes a value of {need}, which has ended"
                assert source.may_have_value(need.index), f"{need} has no value, and is waited for"
                if durable_calls.output_of(jobs, need) is None:
                    missing[task_id] = missing.get(task_id, 0) + 1
    known = {
        session_id: {index: set(tasks) for index, tasks in numbers.items()}
        for session_id, numbers in calls.takers.items()
    }
    assert calls.missing == missing, "calls wait for the values that they take and are not there"
    assert known == takers, "calls that have not ended are known by the values that they take"
    for record in cluster.live_jobs():
        if record.calls is not None:
            name, taken = record.job_id, takers.get(record.job_id, {})
            counted = {index: len(tasks) for index, tasks in taken.items()}
            assert record.calls.needed == counted, f"{name} counts who takes its values"
            retained = record.calls.retained.keys()
            assert retained <= counted.keys(), f"{name} retains what nobody needs"
            unreleased = retained & record.calls.ended.keys()
            assert not unreleased, f"{name} retains what is not released"
    for session_id, started in calls.started.items():
        live = cluster.jobs.get(session_id)
        assert live is not None, f"{session_id} has ended, and its calls begin"
        assert live.record.calls is not None, f"{session_id} is not a session, and its calls begin"
        assert len(started) <= cluster.limits.calls_started_max
