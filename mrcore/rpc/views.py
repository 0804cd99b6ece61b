"""From the messages of `JobService` to the views that clients see."""

from __future__ import annotations

import msgspec

from mrcore.ids import Phase
from mrcore.job import TaskState
from mrcore.rpc.enums import FAILURE_KINDS, JOB_STATES, PHASES, TASK_STATES
from mrcore.rpc.v1 import fleet_pb2, job_pb2, job_service_pb2
from mrcore.views import (
    AttemptCounts,
    AttemptLog,
    AttemptView,
    Cost,
    FailureView,
    FleetGroupView,
    FleetView,
    JobView,
    PhaseView,
    TaskView,
    WorkerView,
)


def phase_number(phase: Phase | None) -> job_pb2.Phase.ValueType:
    """Return the enum value of a phase; unspecified for None."""
    return job_pb2.PHASE_UNSPECIFIED if phase is None else PHASES.to_proto[phase]


def task_state_number(state: TaskState | None) -> job_pb2.TaskState.ValueType:
    """Return the enum value of a task's state; unspecified for None."""
    return job_pb2.TASK_STATE_UNSPECIFIED if state is None else TASK_STATES.to_proto[state]


def job_view(job: job_pb2.Job) -> JobView:
    """Return a job as it stands."""
    return JobView(
        job_id=job.job_id,
        name=job.spec.name,
        state=JOB_STATES.from_proto(job.state),
        output_uri=job.spec.output_uri,
        phases=tuple(_phase_view(phase) for phase in job.phases),
        counters={**job.counters, **{name: int(n) for name, n in job.large_counters.items()}},
        attempts=_attempt_counts(job.attempts),
        message=job.message,
        failure=_failure_view(job.failure) if job.HasField("failure") else None,
        recent_failures=tuple(
            _failure_view(recent.failure, recent.attempt, recent.worker_id)
            for recent in job.recent_failures
        ),
        note=job.note,
        submitted_seconds=job.submitted_seconds,
        ended_seconds=job.ended_seconds,
        input_bytes=job.input_bytes,
        priority=job.spec.priority,
        cost=cost_view(job.cost) if job.HasField("cost") else None,
    )


def cost_view(cost: job_pb2.Cost) -> Cost:
    """Return what something has cost."""
    return Cost(**{name: getattr(cost, name) for name in Cost.__struct_fields__})


def cost_to_proto(cost: Cost) -> job_pb2.Cost:
    """Return the message of what something has cost."""
    return job_pb2.Cost(**{name: getattr(cost, name) for name in Cost.__struct_fields__})


def fleet_view(fleet: fleet_pb2.Fleet) -> FleetView:
    """Return a fleet as its master saw it last."""
    return FleetView(
        target=fleet.target,
        cluster=fleet.cluster,
        groups=tuple(
            FleetGroupView(
                **{name: getattr(group, name) for name in FleetGroupView.__struct_fields__}
            )
            for group in fleet.groups
        ),
        wanted_workers=fleet.wanted_workers,
        min_workers=fleet.min_workers,
        max_workers=fleet.max_workers,
        joined_workers=fleet.joined_workers,
        notes=tuple(fleet.notes),
        cost=cost_view(fleet.cost),
        max_cost=fleet.max_cost or None,
        hour_dollars=fleet.hour_dollars,
        preemptions_per_hour=(
            fleet.preemptions_per_hour if fleet.HasField("preemptions_per_hour") else None
        ),
        prices_date=fleet.prices_date,
        ending=fleet.ending,
        seen_seconds=fleet.seen_seconds,
    )


def fleet_to_proto(view: FleetView) -> fleet_pb2.Fleet:
    """Return the message of a fleet."""
    groups = [fleet_pb2.FleetGroup(**msgspec.structs.asdict(group)) for group in view.groups]
    fields = msgspec.structs.asdict(view)
    fields |= {"groups": groups, "cost": cost_to_proto(view.cost), "max_cost": view.max_cost or 0.0}
    return fleet_pb2.Fleet(**fields)


def _phase_view(phase: job_pb2.PhaseProgress) -> PhaseView:
    return PhaseView(
        phase=PHASES.from_proto(phase.phase),
        tasks=phase.tasks,
        idle=phase.idle,
        in_progress=phase.in_progress,
        completed=phase.completed,
        records=phase.records,
        bytes=phase.bytes,
        done_tasks=phase.done_tasks,
    )


def _attempt_counts(counts: job_pb2.AttemptCounts) -> AttemptCounts:
    return AttemptCounts(
        started=counts.started,
        won=counts.won,
        failed=counts.failed,
        infrastructure=counts.infrastructure,
        expired=counts.expired,
        preempted=counts.preempted,
        superseded=counts.superseded,
    )


def _failure_view(failure: job_pb2.Failure, attempt: str = "", worker_id: str = "") -> FailureView:
    return FailureView(
        kind=FAILURE_KINDS.from_proto(failure.kind),
        message=failure.message,
        traceback=failure.traceback,
        attempt=attempt,
        worker_id=worker_id,
    )


def task_view(task: job_pb2.Task) -> TaskView:
    """Return a task as it stands."""
    return TaskView(
        phase=PHASES.from_proto(task.phase),
        index=task.index,
        state=TASK_STATES.from_proto(task.state),
        attempts=tuple(
            AttemptView(
                number=attempt.number,
                worker_id=attempt.worker_id,
                state=attempt.state,
                elapsed_seconds=attempt.elapsed_seconds,
                fraction=attempt.fraction,
                status=attempt.status,
            )
            for attempt in task.attempts
        ),
        failures=task.failures,
        story=tuple(task.story),
    )


def worker_view(worker: job_pb2.Worker) -> WorkerView:
    """Return a worker as the master sees it."""
    return WorkerView(
        worker_id=worker.worker_id,
        host=worker.host,
        process_id=worker.process_id,
        slots=worker.slots,
        running=worker.running,
        unstarted=worker.unstarted,
        draining=worker.draining,
        silent_seconds=worker.silent_seconds,
        python=worker.versions.python,
        mrcore=worker.versions.mrcore,
        note=worker.note,
    )


def attempt_log(log: job_service_pb2.AttemptLog) -> AttemptLog:
    """Return what one attempt printed."""
    return AttemptLog(attempt=log.attempt, text=log.text, size_bytes=log.size_bytes)
