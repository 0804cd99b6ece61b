"""Invariants that hold after every step, asserted by tests and simulations."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mrcore.master.core import invariants_calls, policy
from mrcore.master.core.ended import leaves_remains, weight_of_blocks
from mrcore.master.core.limits import Limits
from mrcore.master.core.records import JobRecord, StageRecord, TaskRecord
from mrcore.master.core.views import story_lines
from mrcore.master.core.volatile import NO_LIVE_TASK, LiveJob, LiveStage, LiveTask
from mrcore.model.ids import TaskId
from mrcore.model.job import JobState
from mrcore.model.resources import thousandths
from mrcore.model.skipping import most_skipped

if TYPE_CHECKING:
    from mrcore.master.core.cluster import Cluster

ATTEMPTS_MAX = 2
"""Attempts of one task at a time: one, and its backup."""


def check(cluster: Cluster) -> None:
    """Assert every invariant of the machine; O(everything)."""
    durable = cluster.durable
    live = {job.job_id for job in durable.jobs.values() if not job.state.final}
    assert live == {job.job_id for job in cluster.live_jobs()}, "live jobs are those not ended"
    for record in durable.jobs.values():
        if record.calls is None:
            _check_sums(record)
        else:
            invariants_calls.check(cluster, record, record.calls)
        job = cluster.jobs.get(record.job_id)
        if job is not None:
            _check_job(cluster, job)
        _check_waiting(cluster, record)
    _check_workers(cluster)
    _check_bounds(cluster)


def _check_sums(record: JobRecord) -> None:
    """Incremental sums are the sums over the current winners."""
    counters: Counter[str] = Counter()
    skips = bad = counts = blocks = results = 0
    for sums in record.stages:
        won = [task for task in sums.tasks if task.winner is not None]
        outputs = [task.output for task in won if task.output is not None]
        if record.state.final:  # details may be gone: of a large job all of them
            assert sums.completed == len(won), f"{record.job_id} counts winners"
            continue
        assert sums.completed == len(won) == len(outputs), f"{record.job_id} counts winners"
        assert sums.records_in == sum(output.records_in for output in outputs)
        assert sums.bytes_out == sum(output.bytes_out for output in outputs)
        skips += sum(len(task.skip) for task in sums.tasks if task.winner is None)
        for output in outputs:
            counters.update(output.counters)
            counts += len(output.counters)
            blocks += weight_of_blocks(output)
            results += len(output.result)
            bad += output.skipped
    if not record.state.final:  # an ended job has dropped the details
        assert record.open_skips == skips, f"{record.job_id} counts skips"
        assert record.counts == counts, f"{record.job_id} counts counters"
        assert record.block_bytes == blocks, f"{record.job_id} weighs blocks"
        assert record.result_bytes == results, f"{record.job_id} counts bytes of results"
        assert record.bad_records == bad, f"{record.job_id} counts bad records"
        kept = {name: value for name, value in record.counters.items() if value}
        assert kept == {name: value for name, value in counters.items() if value}
    if record.state in (JobState.COMMITTING, JobState.SUCCEEDED):
        assert record.complete, f"{record.job_id} is {record.state} without all its winners"


def _check_waiting(cluster: Cluster, record: JobRecord) -> None:
    """A job that waits does so for live jobs, older than itself; at last it is being planned."""
    if record.state is not JobState.WAITING:
        assert not record.waits_for, f"{record.job_id} is {record.state} and waits"
        return
    job = cluster.jobs.get(record.job_id)
    assert job is not None, f"{record.job_id} waits and has ended"
    assert not record.stages, f"{record.job_id} waits and has tasks"
    assert set(record.waits_for) <= set(record.spec.after)
    assert job.planning == (not record.waits_for), f"{record.job_id} is planned when it may be"
    for job_id in record.waits_for:
        other = cluster.job(job_id)
        assert other is not None, f"{record.job_id} waits for {job_id}, which is forgotten"
        assert not other.state.final, f"{record.job_id} waits for {job_id}, which has ended"
        assert other.serial < record.serial, f"{record.job_id} waits for a later job: a cycle"


def _check_job(cluster: Cluster, job: LiveJob) -> None:
    for stage, sums in zip(job.stages, job.record.stages, strict=True):
        _check_stage(cluster, job, stage, sums)


def _check_stage(cluster: Cluster, job: LiveJob, stage: LiveStage, sums: StageRecord) -> None:
    queued = Counter(ticket for index, ticket in stage.heap if stage.tasks[index].ticket == ticket)
    delayed = Counter(
        ticket
        for _, ticket, task_id in cluster.delayed
        if task_id.job_id == job.record.job_id and task_id.stage == stage.number
    )
    assert len(stage.heap) <= 2 * len(stage.tasks) + cluster.limits.void_entries_max
    assert stage.ready == queued.total(), "ready tasks are the valid entries of the heap"
    cap = cluster.now + cluster.limits.retry_cap_seconds
    due = [due for due, ticket, _ in cluster.delayed if ticket in delayed]
    assert max(due, default=cap) <= cap, "no back-off is longer than the cap"
    assert stage.delayed == sum(1 for task in stage.tasks if task.delayed)
    assert stage.busy == sum(1 for task in stage.tasks if task.attempts)
    seen = 0
    for index, (task, record) in enumerate(zip(stage.tasks, sums.tasks, strict=True)):
        if task is NO_LIVE_TASK:  # a call that is over: `invariants_calls` looks at it
            assert record.winner is not None, f"{job.record.job_id} forgets call {index}"
            continue
        name = TaskId(job.record.job_id, stage.number, index)
        idle = record.winner is None and not task.attempts and job.running
        idle = idle and not invariants_calls.waits(cluster, name)
        places = queued[task.ticket] + delayed[task.ticket] if task.ticket else 0
        assert places == (1 if idle else 0), f"idle iff queued exactly once: {_story(name, task)}"
        assert not (record.winner is not None and task.attempts), (
            f"won and in progress: {_story(name, task)}"
        )
        assert len(task.attempts) <= ATTEMPTS_MAX, f"too many attempts: {_story(name, task)}"
        assert len(task.story) <= cluster.limits.story_lines
        assert len(task.avoid) <= cluster.limits.avoided_max, _story(name, task)
        assert len(task.suspects) <= cluster.limits.avoided_max, _story(name, task)
        assert len(set(task.suspects)) == len(task.suspects), _story(name, task)
        numbers = [attempt.id.number for attempt in task.attempts]
        assert len(set(numbers)) == len(numbers), f"a number was used twice: {_story(name, task)}"
        for attempt in task.attempts:
            seen += 1
            assert attempt.id.task == name, _story(name, task)
            assert stage.attempts[attempt.id] is attempt, _story(name, task)
            holder = cluster.workers.get(attempt.worker_id)
            assert holder is not None, f"held by a worker that is gone: {_story(name, task)}"
            assert holder.held[attempt.id] is attempt, (
                f"its worker does not hold it: {_story(name, task)}"
            )
        _check_budgets(cluster, job, record, name, task)
    assert seen == len(stage.attempts), "every attempt belongs to a task"


def _check_budgets(
    cluster: Cluster, job: LiveJob, record: TaskRecord, name: TaskId, task: LiveTask
) -> None:
    """A task over its budget has ended its job in the same step."""
    if not job.running:
        return
    assert record.failures < max(job.record.spec.max_attempts, 1), (
        f"over its budget: {_story(name, task)}"
    )
    assert not record.same_error, f"tries what is certain to fail: {_story(name, task)}"
    assert record.infrastructure < cluster.limits.infrastructure_max, (
        f"over its budget: {_story(name, task)}"
    )
    assert record.losses < cluster.limits.losses_max, f"over its budget: {_story(name, task)}"


def _story(name: TaskId, task: LiveTask) -> str:
    """Return a task with what befell it, for the message of an assertion that fails."""
    return "\n  ".join([str(name), *story_lines(task, 0.0)])


def _check_workers(cluster: Cluster) -> None:
    for worker in cluster.sorted_workers():
        ahead = cluster.limits.prefetch_per_worker_max
        backups = 1  # adopted or backed up beyond what its slots say
        assert worker.active <= worker.slots + ahead + backups, f"{worker.id} holds too much"
        taken_back = sum(1 for attempt in worker.held.values() if attempt.taken_back)
        assert worker.taken_back == taken_back, f"{worker.id} counts what is taken back"
        needs = [cluster.jobs[a.id.task.job_id].record.spec.resources for a in worker.held.values()]
        cpus = sum(thousandths(each.cpus) for each in needs)
        memory = sum(each.memory_bytes for each in needs)
        assert (worker.cpus_reserved, worker.memory_reserved) == (cpus, memory), f"{worker.id} sums"
        assert cpus <= thousandths(worker.about.cpus), f"{worker.id} has too few CPUs"
        assert memory <= worker.about.memory_bytes, f"{worker.id} has too little memory"
        assert all(set(each.labels) <= set(worker.about.labels) for each in needs), worker.id
        for attempt in worker.held.values():
            job = cluster.jobs.get(attempt.id.task.job_id)
            assert job is not None, f"{worker.id} holds {attempt.id} of an ended job"
            assert job.running, f"{worker.id} holds {attempt.id} of a job that commits"
            stage = attempt.id.task.stage
            assert attempt.id in job.stages[stage].attempts
            if not attempt.taken_back:
                assert attempt.wanted.inputs_version == job.record.stages[stage].version


def _check_bounds(cluster: Cluster) -> None:
    """Each collection that grows has a number in the limits."""
    durable, limits = cluster.durable, cluster.limits
    assert len(cluster.sorted_workers()) <= limits.workers_max
    assert len(cluster.live_jobs()) <= limits.live_jobs_max
    assert len(cluster.awaited) <= limits.workers_max
    assert cluster.waiting == bool(cluster.awaited), "a take-over waits for somebody"
    known = {worker.id for worker in cluster.sorted_workers()}.union(cluster.awaited)
    assert known.issuperset(durable.workers), "a restart brings back no other workers"
    assert len(cluster.timers) <= 2 * limits.workers_max + limits.void_entries_max
    delayed = 2 * limits.live_tasks_max + limits.void_entries_max
    assert len(cluster.delayed) <= delayed
    plans = [[stage.plan for stage in job.stages] for job in cluster.live_jobs()]
    sections = sum(map(policy.section_count, plans))
    assert sections <= limits.live_sections_max, "asked with `has_room` before a submission"
    assert len(durable.requests) <= len(durable.jobs)
    ended = [durable.jobs[job_id] for job_id in durable.ended]
    assert len(ended) <= limits.ended_jobs_max
    assert durable.ended_tasks == sum(record.task_count for record in ended)
    assert durable.ended_bytes == sum(record.kept_bytes for record in ended)
    if len(ended) > 1:  # the newest stays, whatever it takes
        assert durable.ended_tasks <= limits.ended_tasks_max
        assert durable.ended_bytes <= limits.ended_bytes_max
    jobs, tasks, lines = cluster.stories.totals()
    assert jobs <= limits.ended_stories_max
    assert tasks <= limits.ended_story_tasks_max
    assert lines <= limits.ended_story_lines_max
    for record in durable.jobs.values():
        _check_record(record, limits)
    for job in cluster.live_jobs():
        live = cluster.jobs.get(job.job_id)
        assert live is not None
        for run, reads in live.reads.items():
            assert 0 <= run.index < len(job.stages[run.stage].tasks)
            assert len(reads.by) <= limits.reads_max


def _check_record(record: JobRecord, limits: Limits) -> None:
    final = record.state.final and not leaves_remains(record)
    assert len(record.recent_failures) <= limits.recent_failures_max
    assert len(record.traced) <= limits.last_failures_max
    if final:
        assert len(record.counters) <= limits.counters_max
        assert len(record.spec.inputs) <= limits.ended_inputs_max
        assert record.commit_plan is None
        assert not record.traced
    elif record.state is JobState.RUNNING:  # beyond these it has failed in the same step
        assert len(record.counters) <= limits.counters_max
        assert record.counts <= limits.counts_max
        assert record.block_bytes <= limits.block_bytes_max
        assert record.result_bytes <= limits.result_bytes_max
    traced = set(record.traced)
    most_failed = limits.ended_failed_max if final else limits.failed_attempts_max
    for number, stage in enumerate(record.stages):
        for index, task in enumerate(stage.tasks):
            assert len(task.failed) <= most_failed
            assert len(task.culprits) <= limits.culprits_max
            if record.calls is None:
                assert len(task.skip) <= most_skipped(record.spec.max_bad_records)
            if task.last_failure is not None and task.last_failure.traceback:
                assert TaskId(record.job_id, number, index) in traced, "tracebacks are few"
            if final:
                assert task.last_failure is None
                assert (task.culprits, task.skip, task.digest) == ([], (), None)
