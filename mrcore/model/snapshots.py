"""Snapshots of jobs, tasks and workers, as clients see them.

The master makes them of its machine and the inline engine of its own results. The client gets them
over the wire, and the command line prints them. They are plain values: none changes with its job.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mrcore.model import object_names
from mrcore.model.job import JobState, TaskState
from mrcore.model.stages import task_name
from mrcore.model.task import FailureKind, TaskFailure


class StageView(msgspec.Struct, frozen=True, kw_only=True):
    """States of the tasks of one stage."""

    name: str
    """`map`, `reduce`, or in a longer job such as `step2-reduce`."""
    tasks: int
    idle: int = 0
    in_progress: int = 0
    completed: int = 0
    records: int = 0
    """Records read by accepted and live attempts."""
    bytes: int = 0
    """Bytes read by accepted and live attempts."""
    done_tasks: float = 0.0
    """Completed tasks plus the fractions of live ones."""
    records_out: int = 0
    """Records that accepted attempts emitted."""
    bytes_out: int = 0
    """Bytes of the runs or parts that accepted attempts wrote."""
    attempts: int = 0
    """Attempts that were started, for any reason."""
    skew: str = ""
    """A sentence where one task has far more to read than the others."""

    @property
    def fraction(self) -> float:
        """Return how much of the stage is done, 0 to 1; a stage without tasks is done."""
        return min(1.0, self.done_tasks / self.tasks) if self.tasks else 1.0


class StageFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one stage, as the receipt and `--json` have them."""

    name: str
    tasks: int
    attempts: int
    """Attempts that were started, for any reason."""
    records_in: int
    records_out: int
    bytes_in: int
    bytes_out: int


def stage_figures(stage: StageView) -> StageFigures:
    """Return the figures of a stage."""
    return StageFigures(
        name=stage.name,
        tasks=stage.tasks,
        attempts=stage.attempts,
        records_in=stage.records,
        records_out=stage.records_out,
        bytes_in=stage.bytes,
        bytes_out=stage.bytes_out,
    )


class AttemptCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts by outcome, since the master started."""

    started: int = 0
    won: int = 0
    failed: int = 0
    infrastructure: int = 0
    expired: int = 0
    preempted: int = 0
    superseded: int = 0


class FailureView(msgspec.Struct, frozen=True, kw_only=True):
    """Reason why an attempt or a job failed, in words for the user."""

    kind: FailureKind
    message: str
    """One sentence: what happened, to which file, record and offset."""
    traceback: str = ""
    """The user's own frames only."""
    attempt: str = ""
    """As in `map-00003@5.2`, where known."""
    worker_id: str = ""


def failure_view(failure: TaskFailure, attempt: str = "", worker_id: str = "") -> FailureView:
    """Return a failure as it is shown."""
    return FailureView(
        kind=failure.kind,
        message=failure.message,
        traceback=failure.traceback,
        attempt=attempt,
        worker_id=worker_id,
    )


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of machines and storage in dollars, by purpose."""

    useful: float = 0.0
    """Slots that ran attempts."""
    boot: float = 0.0
    """Machines whose worker had not joined yet."""
    idle: float = 0.0
    """Slots that waited."""
    lost: float = 0.0
    """Attempts that ended with their machine."""
    master: float = 0.0
    operations: float = 0.0
    """Storage operations that were counted."""
    class_a: int = 0
    """Operations that write or list."""
    class_b: int = 0
    """Operations that read."""
    vm_seconds: float = 0.0
    preemptions: int = 0

    @property
    def dollars(self) -> float:
        """Return all of it."""
        return self.useful + self.boot + self.idle + self.lost + self.master + self.operations

    def plus(self, other: Cost) -> Cost:
        """Return both together."""
        return Cost(
            **{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__}
        )


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it stands: the one snapshot of master, inline engine, client and command line."""

    job_id: str
    name: str
    state: JobState
    output_uri: str
    partition_by: tuple[str, ...] = ()
    """Columns whose values are folders of the output."""
    stages: tuple[StageView, ...] = ()
    """In the order of their numbers: a stage reads only earlier ones."""
    counters: dict[str, int] = {}
    attempts: AttemptCounts = AttemptCounts()
    message: str = ""
    """One sentence where it failed or was cancelled."""
    failure: FailureView | None = None
    recent_failures: tuple[FailureView, ...] = ()
    note: str = ""
    waits_for: tuple[str, ...] = ()
    """Jobs that must succeed before this one is planned."""
    submitted_seconds: float = 0.0
    ended_seconds: float = 0.0
    """Wall clock, seconds since 1970; 0 while the job runs."""
    input_bytes: int = 0
    bad_records: int = 0
    """Number of records that were skipped; they are under `_bad/` of the output."""
    priority: int = 0
    limit: int = 0
    """Number of records of the input that are mapped; 0 for all."""
    cost: Cost | None = None
    """None where no fleet is paid for."""

    @property
    def elapsed_seconds(self) -> float:
        """Return how long the job took; 0 while it runs."""
        if not self.ended_seconds:
            return 0.0
        return max(0.0, self.ended_seconds - self.submitted_seconds)


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at a task."""

    number: str
    worker_id: str
    state: str
    """One word: unstarted, running, won, failed, expired, preempted, superseded."""
    elapsed_seconds: float = 0.0
    fraction: float = 0.0
    status: str = ""
    records_read: int = 0
    """Records that it has read so far, while it runs."""
    bytes_read: int = 0
    """Bytes that it has read so far, while it runs."""


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """One task."""

    stage: str
    """Name of its stage."""
    index: int
    state: TaskState
    attempts: tuple[AttemptView, ...] = ()
    failures: int = 0
    story: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the name within the job, as in `map-00003`."""
        return task_name(self.stage, self.index)


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    """One worker, as the master sees it."""

    worker_id: str
    host: str = ""
    process_id: int = 0
    slots: int = 0
    running: int = 0
    unstarted: int = 0
    draining: bool = False
    silent_seconds: float = 0.0
    python: str = ""
    mrcore: str = ""
    pyarrow: str = ""
    note: str = ""
    labels: tuple[str, ...] = ()
    cpus: float = 0.0
    """CPUs that it offers."""
    memory_bytes: int = 0
    """Memory that it offers."""
    cpus_reserved: float = 0.0
    """CPUs that its attempts have reserved."""
    memory_reserved: int = 0
    """Bytes of memory that its attempts have reserved."""


class FleetGroupView(msgspec.Struct, frozen=True, kw_only=True):
    """Machines of one kind."""

    model: str
    """One word: spot or standard."""
    machine_type: str = ""
    target_size: int = 0
    machines: int = 0
    """Machines that exist."""
    coming: int = 0
    """Machines that are being made."""
    hour_dollars: float = 0.0
    """Highest price of one machine for an hour."""


class FleetView(msgspec.Struct, frozen=True, kw_only=True):
    """The machines that a master makes and deletes, as it saw them last."""

    target: str
    cluster: str
    groups: tuple[FleetGroupView, ...] = ()
    wanted_workers: int = 0
    min_workers: int = 0
    max_workers: int = 0
    joined_workers: int = 0
    notes: tuple[str, ...] = ()
    """Sentences for a person, the most important first."""
    cost: Cost = Cost()
    max_cost: float | None = None
    hour_dollars: float = 0.0
    """Highest price of all present machines for an hour."""
    preemptions_per_hour: float | None = None
    """Preemptions for each hour of a spot machine."""
    prices_date: str = ""
    ending: bool = False
    seen_seconds: float = 0.0


class AttemptLog(msgspec.Struct, frozen=True, kw_only=True):
    """End of the text that one attempt printed."""

    attempt: str
    text: bytes
    size_bytes: int


def job_json(job: JobView) -> dict[str, Any]:
    """Return the object that `--json` prints for a job; `error` only where there is one.

    `tasks` counts by stage, then by state; `stages` has the figures of each stage, in order.
    `output` is a path for files and a URI for the rest.
    """
    tasks = {
        view.name: {
            TaskState.IDLE.value: view.idle,
            TaskState.IN_PROGRESS.value: view.in_progress,
            TaskState.COMPLETED.value: view.completed,
        }
        for view in job.stages
    }
    result: dict[str, Any] = {
        "job_id": job.job_id,
        "state": job.state.value,
        "counters": dict(sorted(job.counters.items())),
        "bad_records": job.bad_records,
        "tasks": tasks,
        "stages": [msgspec.to_builtins(stage_figures(view)) for view in job.stages],
        "attempts": msgspec.to_builtins(job.attempts),
        "output": object_names.shown(job.output_uri),
        "elapsed_seconds": round(job.elapsed_seconds, 3),
    }
    if job.limit:
        result["limit"] = job.limit
    if job.waits_for:
        result["waits_for"] = list(job.waits_for)
    if skewed := [stage.skew for stage in job.stages if stage.skew]:
        result["skew"] = skewed
    if job.cost is not None:
        result["cost"] = cost_json(job.cost)
    if job.message or job.failure:
        result["error"] = {
            "message": job.message or (job.failure.message if job.failure else ""),
            "traceback": job.failure.traceback if job.failure else "",
            "attempt": job.failure.attempt if job.failure else "",
        }
    return result


def cost_json(cost: Cost) -> dict[str, Any]:
    """Return the object that `--json` prints for a cost: money in dollars."""
    exact = msgspec.to_builtins(cost)
    rounded = {name: round(value, 6) for name, value in exact.items()}
    return {"dollars": round(cost.dollars, 6), **rounded}


def broken_json(output: str | None, error: str, job: JobView | None) -> dict[str, Any]:
    """Return the object that `--json` prints when the command ends before the job has.

    `job` is what was last seen of it; None when no job came to be.
    """
    if job is not None:
        return {**job_json(job), "error": {"message": error, "traceback": "", "attempt": ""}}
    return {
        "job_id": None,
        "state": JobState.FAILED.value,
        "counters": {},
        "bad_records": 0,
        "tasks": {},
        "stages": [],
        "attempts": msgspec.to_builtins(AttemptCounts()),
        "output": output,
        "elapsed_seconds": 0.0,
        "error": {"message": error, "traceback": "", "attempt": ""},
    }
