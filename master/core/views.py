"""Snapshots of the machine as people see it: the values of `mrcore.model.snapshots`.

Each is made for one answer. Only `task_views` is O(tasks).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from mrcore.master.core import policy, resources
from mrcore.master.core.records import JobRecord, RecentFailure, TaskRecord
from mrcore.master.core.volatile import Attempt, LiveJob, LiveTask, Worker
from mrcore.model import object_names
from mrcore.model.attempts import AttemptState
from mrcore.model.job import JobState, TaskState
from mrcore.model.snapshots import (
    AttemptCounts,
    AttemptView,
    FailureView,
    JobView,
    StageView,
    TaskView,
    WorkerView,
    failure_view,
)

if TYPE_CHECKING:
    from mrcore.master.core.cluster import Cluster

_WAITING: Final = "waiting for workers: "
_WAITED_SHOWN: Final = 3
"""Jobs that a note names of those that are waited for."""


def job_view(cluster: Cluster, job_id: str, *, counters: bool = False) -> JobView | None:
    """Return one job as it stands, with counters if asked for; None for an unknown job.

    The shell adds what the machine does not know: the cost, and notes of fleet and committer.
    """
    record = cluster.job(job_id)
    return None if record is None else _job_view(cluster, record, counters)


def _job_view(cluster: Cluster, record: JobRecord, counters: bool) -> JobView:
    job = cluster.jobs.get(record.job_id)
    tally = record.tally if job is None else job.tally
    notes = (_calls_note(record, job), "" if job is None else _job_note(cluster, job))
    return JobView(
        job_id=record.job_id,
        name=record.spec.name,
        state=record.state,
        output_uri=record.spec.output_uri,
        partition_by=record.spec.partition_by,
        message=record.message,
        failure=None if record.failure is None else failure_view(record.failure),
        stages=stage_views(record, job),
        counters=dict(record.counters) if counters else {},
        attempts=AttemptCounts(
            started=tally.started,
            won=record.won,
            failed=record.failed,
            infrastructure=record.infrastructure,
            expired=tally.expired,
            preempted=tally.preempted,
            superseded=tally.superseded,
        ),
        submitted_seconds=record.submitted_seconds,
        ended_seconds=record.ended_seconds,
        input_bytes=record.input_bytes,
        bad_records=record.bad_records,
        recent_failures=tuple(_recent_failure(record, one) for one in record.recent_failures),
        note="; ".join(filter(None, notes)),
        waits_for=tuple(record.waits_for),
        priority=record.spec.priority,
        limit=record.spec.limit,
    )


def _recent_failure(record: JobRecord, recent: RecentFailure) -> FailureView:
    stage = record.stages[recent.attempt.task.stage].name
    name = object_names.attempt_name(stage, recent.attempt)
    return failure_view(recent.failure, name, recent.worker_id)


def stage_views(record: JobRecord, job: LiveJob | None) -> tuple[StageView, ...]:
    """Return where each stage of a job stands."""
    return tuple(_stage_view(record, job, number) for number in range(len(record.stages)))


def _stage_view(record: JobRecord, job: LiveJob | None, number: int) -> StageView:
    sums = record.stages[number]
    live = job.stages[number] if job is not None else None
    attempts = list(live.attempts.values()) if live is not None else []
    furthest: dict[int, float] = {}
    for attempt in attempts:
        index = attempt.id.task.index
        furthest[index] = max(furthest.get(index, 0.0), attempt.progress.fraction)
    busy = live.busy if live is not None else 0
    tasks = len(sums.tasks) if record.calls is None else record.calls.added
    return StageView(
        name=sums.name,
        tasks=tasks,
        idle=tasks - sums.completed - busy,
        in_progress=busy,
        completed=sums.completed,
        records=sums.records_in + sum(attempt.progress.records for attempt in attempts),
        bytes=sums.bytes_in + sum(attempt.progress.bytes for attempt in attempts),
        done_tasks=sums.completed + sum(min(f, 1.0) for f in furthest.values()),
        records_out=sums.records_out,
        bytes_out=sums.bytes_out,
        attempts=sums.started if live is None else live.started,
        skew=sums.skew,
    )


def _calls_note(record: JobRecord, job: LiveJob | None) -> str:
    """Return what the numbers of a session's stage leave out: failed, cancelled, waiting."""
    calls = record.calls
    if calls is None:
        return ""
    waiting = 0
    if job is not None:
        waiting = len(calls.plans) - sum(s.busy + s.ready + s.delayed for s in job.stages)
    counts = (
        (calls.failed, "failed"),
        (calls.cancelled, "cancelled"),
        (waiting, "waiting for the values of others"),
    )
    shown = [f"{count:,} {what}" for count, what in counts if count]
    return f"calls: {', '.join(shown)}" if shown else ""


def _job_note(cluster: Cluster, job: LiveJob) -> str:
    """Return why nothing happens, where nothing does."""
    if job.waiting:
        return _waiting_note(job.record.waits_for)
    stall = cluster.stalls.get(job.record.job_id, "")
    if not job.running or any(stage.busy for stage in job.stages):
        return stall if job.running else ""
    if cluster.waiting:
        return "waiting for workers to report after a restart of the master"
    workers = cluster.sorted_workers()
    if not workers:
        return nobody_note(cluster)
    versions = job.record.spec.versions
    reasons = [policy.mismatch(versions, worker.about) for worker in workers]
    if None not in reasons:
        return f"{_WAITING}all of them run {reasons[0]}"
    if not any(worker.sees_store for worker in workers):
        return f"{_WAITING}none of them sees the master's store"
    if all(worker.leaving for worker in workers):
        return f"{_WAITING}all of them are leaving"
    lacking = resources.unmet(job.record.spec.resources, [worker.about for worker in workers])
    return f"waiting: {lacking}" if lacking else stall


def is_fit(cluster: Cluster, job_id: str) -> bool:
    """Return whether some worker can run a job's tasks, now or when it has nothing else to do."""
    record, workers = cluster.job(job_id), cluster.sorted_workers()
    if record is None:
        return False
    return any(resources.suits(record.spec.resources, worker.about) for worker in workers)


def session_note(cluster: Cluster, session_id: str) -> str:
    """Return why the calls of a session wait; empty where none does, or some run."""
    job = cluster.jobs.get(session_id)
    if job is None or job.record.calls is None or not job.record.calls.plans:
        return ""
    return _job_note(cluster, job)


def _waiting_note(jobs: Sequence[str]) -> str:
    """Return which jobs are waited for; a job that waits for none is being planned."""
    if not jobs:
        return "is being planned"
    rest = len(jobs) - _WAITED_SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return f"waits for {', '.join(jobs[:_WAITED_SHOWN])}{more}"


def why_never_planned(job_id: str, job: JobRecord | None) -> str:
    """Return why a job that waits for this one fails."""
    if job is None:
        return f"It waits for {job_id}, which this cluster does not know any more. Submit it again."
    ended = "was cancelled" if job.state is JobState.CANCELLED else "failed"
    return f"It waits for {job_id}, which {ended}. Run that job again, then submit this one again."


def nobody_note(cluster: Cluster) -> str:
    """Return what a job waits for where there are no workers."""
    if cluster.last_gone:
        return f"{_WAITING}the last one, {cluster.last_gone}, is gone"
    first = cluster.epoch <= 1
    return f"{_WAITING}none has joined {'yet' if first else 'since the master was started again'}"


def why_not_cancelled(job_id: str, output_uri: str, note: str | None) -> str:
    """Return why a job that commits goes on, and what ends it where `note` says that it waits."""
    text = f"Job {job_id} is being committed: it can no longer be cancelled."
    if note is None:
        return text
    where = object_names.shown(output_uri)
    return f"{text} It {note} To give it up, run `mrcore gc {where} --release`."


def task_views(
    cluster: Cluster,
    job_id: str,
    start: int = 0,
    stage: str = "",
    state: TaskState | None = None,
) -> Iterator[tuple[int, TaskView]]:
    """Yield the tasks of a job with their positions, by stage; nothing for an unknown job.

    From position `start` on; only those of a stage, or in a state, where given. A view is made only
    when it is asked for: a job may have very many tasks.
    """
    record, job = cluster.job(job_id), cluster.displayed_job(job_id)
    if record is None:
        return
    first = 0
    for number, of in enumerate(record.stages):
        for index in range(max(0, start - first), len(of.tasks)):
            task = of.tasks[index]
            live = None if job is None else job.stages[number].tasks[index]
            found = _task_state(task, live)
            if stage in ("", of.name) and state in (None, found):
                story = [] if live is None else story_lines(live, record.submitted_seconds)
                view = _task_view(of.name, index, found, task, live, story, cluster.now)
                yield first + index, view
        first += len(of.tasks)


def _task_state(record: TaskRecord, task: LiveTask | None) -> TaskState:
    if record.winner is not None:
        return TaskState.COMPLETED
    return TaskState.IN_PROGRESS if task is not None and task.attempts else TaskState.IDLE


def _task_view(
    stage: str,
    index: int,
    state: TaskState,
    record: TaskRecord,
    task: LiveTask | None,
    story: list[str],
    now: float,
) -> TaskView:
    attempts = [
        AttemptView(number=str(failed.number), worker_id=failed.worker_id, state="failed")
        for failed in record.failed
    ]
    if record.winner is not None:
        seconds = record.output.elapsed_seconds if record.output is not None else 0.0
        won = AttemptView(
            number=str(record.winner),
            worker_id=record.worker_id,
            state="won",
            elapsed_seconds=seconds,
            fraction=1.0,
        )
        attempts.append(won)
    elif task is not None:
        attempts += [_attempt_view(attempt, now) for attempt in task.attempts]
    return TaskView(
        stage=stage,
        index=index,
        state=state,
        attempts=tuple(attempts),
        failures=record.failures,
        story=tuple(story),
    )


def _attempt_view(attempt: Attempt, now: float) -> AttemptView:
    running = attempt.state is AttemptState.RUNNING
    return AttemptView(
        number=str(attempt.id.number),
        worker_id=attempt.worker_id,
        state="running" if running else "unstarted",
        elapsed_seconds=attempt.running_seconds(now),
        fraction=attempt.progress.fraction,
        status=attempt.progress.status,
        records_read=attempt.progress.records,
        bytes_read=attempt.progress.bytes,
    )


def story_lines(task: LiveTask, submitted_seconds: float) -> list[str]:
    """Return the newest lines of a task's story, oldest first; times count from the submit."""
    lines = []
    for when, what, number, where in task.story:
        attempt = f" {number}" if number is not None else ""
        seconds = max(0.0, when - submitted_seconds)
        lines.append(f"{seconds:.3f} s:{attempt} {what}: {where}")
    return lines


def worker_views(cluster: Cluster, now: float) -> list[WorkerView]:
    """Return the workers, by id."""
    return [_worker_view(cluster, worker, now) for worker in cluster.sorted_workers()]


def _worker_view(cluster: Cluster, worker: Worker, now: float) -> WorkerView:
    held = [attempt for attempt in worker.held.values() if not attempt.taken_back]
    running = sum(1 for attempt in held if attempt.state is AttemptState.RUNNING)
    return WorkerView(
        worker_id=worker.id,
        host=worker.about.host,
        process_id=worker.about.process,
        slots=worker.slots,
        running=running,
        unstarted=len(held) - running,
        draining=worker.leaving,
        silent_seconds=max(0.0, now - worker.synced_at),
        python=worker.about.python,
        mrcore=worker.about.mrcore,
        pyarrow=worker.about.pyarrow,
        note=_worker_note(cluster, worker, now),
        labels=worker.about.labels,
        cpus=worker.about.cpus,
        memory_bytes=worker.about.memory_bytes,
        cpus_reserved=worker.cpus_reserved / 1000,
        memory_reserved=worker.memory_reserved,
    )


def _worker_note(cluster: Cluster, worker: Worker, now: float) -> str:
    """Return why a worker gets no work, where it gets none."""
    if not worker.sees_store:
        return "no work: it does not see the master's store"
    if worker.leaving:
        return "draining"
    if now < worker.blamed_until:
        seconds = worker.blamed_until - now
        return f"no work for {seconds:.0f} s: tasks failed here that succeeded elsewhere"
    for record in cluster.live_jobs():
        why = policy.mismatch(record.spec.versions, worker.about)
        if why is not None:
            return f"no work of {record.job_id}: it runs {why}"
    return ""
