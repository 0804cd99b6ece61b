"""Between the messages of `JobService` and the views that clients see."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from google.protobuf.message import Message

from mrcore.model.ids import AttemptNumber
from mrcore.model.job import JobSpec, TaskState
from mrcore.model.master import MasterView
from mrcore.model.remains import TaskAtHand
from mrcore.model.snapshots import (
    AttemptCounts,
    AttemptLog,
    AttemptView,
    Cost,
    FailureView,
    FleetGroupView,
    FleetView,
    JobView,
    StageView,
    TaskView,
    WorkerView,
)
from mrcore.rpc.convert import (
    MAX_MESSAGE,
    MAX_TRACEBACK,
    failure_from_proto,
    job_spec_from_proto,
    job_spec_to_proto,
)
from mrcore.rpc.convert_task import skip_from_proto, work_from_proto
from mrcore.rpc.enums import FAILURE_KINDS, JOB_STATES, MASTER_ROLES, TASK_STATES
from mrcore.rpc.v1 import failure_pb2, fleet_pb2, job_pb2, job_service_pb2, master_pb2
from mrcore.util.texts import printable

INPUTS_SHOWN: Final = 100
"""Inputs that are sent with a job, which may have very many."""
_UINT64: Final = 2**64 - 1
_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
_MAX_STORY_LINE: Final = 1_024
_VERSIONS: Final = ("python", "mrcore", "pyarrow")
"""Fields of a worker that its message keeps in one of their own."""


def _fields(kind: type[msgspec.Struct], message: Message, **converted: Any) -> dict[str, Any]:
    """Return the fields of a struct from those of the same name; `converted` ones are given."""
    same = (name for name in kind.__struct_fields__ if name not in converted)
    return {**converted, **{name: getattr(message, name) for name in same}}


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
        partition_by=tuple(job.spec.partition_by),
        stages=tuple(_stage_view(stage) for stage in job.stages),
        counters={**job.counters, **{name: int(n) for name, n in job.large_counters.items()}},
        attempts=AttemptCounts(**_fields(AttemptCounts, job.attempts)),
        message=job.message,
        failure=_failure_view(job.failure) if job.HasField("failure") else None,
        recent_failures=tuple(
            _failure_view(recent.failure, recent.attempt, recent.worker_id)
            for recent in job.recent_failures
        ),
        note=job.note,
        waits_for=tuple(job.waits_for),
        submitted_seconds=job.submitted_seconds,
        ended_seconds=job.ended_seconds,
        input_bytes=job.input_bytes,
        bad_records=job.bad_records,
        priority=job.spec.priority,
        limit=job.spec.limit,
        cost=cost_view(job.cost) if job.HasField("cost") else None,
    )


def job_to_proto(job: JobView, spec: JobSpec) -> job_pb2.Job:
    """Return the message of a job as it stands; `spec` says what it is."""
    counters, large = _by_size(job.counters)
    message = job_pb2.Job(
        job_id=job.job_id,
        spec=shown_spec(spec),
        state=JOB_STATES.to_proto[job.state],
        message=printable(job.message, MAX_MESSAGE),
        stages=[stage_to_proto(stage) for stage in job.stages],
        counters=counters,
        large_counters=large,
        attempts=job_pb2.AttemptCounts(**msgspec.structs.asdict(job.attempts)),
        submitted_seconds=job.submitted_seconds,
        ended_seconds=job.ended_seconds,
        input_bytes=job.input_bytes,
        bad_records=job.bad_records,
        recent_failures=[
            job_pb2.AttemptFailure(
                attempt=failure.attempt,
                worker_id=failure.worker_id,
                failure=_failure_to_proto(failure),
            )
            for failure in job.recent_failures
        ],
        note=job.note,
        waits_for=job.waits_for,
    )
    if job.failure is not None:
        message.failure.CopyFrom(_failure_to_proto(job.failure))
    if job.cost is not None:
        message.cost.CopyFrom(cost_to_proto(job.cost))
    return message


def task_at_hand(answer: job_service_pb2.GetTaskResponse) -> TaskAtHand:
    """Return a task with what it reads."""
    has_failed = answer.HasField("last_failure")
    return TaskAtHand(
        state_uri=answer.state_uri,
        spec=job_spec_from_proto(answer.spec),
        job_state=JOB_STATES.from_proto(answer.state),
        work=work_from_proto(answer.assignment),
        missing=answer.missing,
        skip=skip_from_proto(answer.assignment),
        failed=tuple(map(AttemptNumber.parse, answer.failed_attempts)),
        last_failure=failure_from_proto(answer.last_failure) if has_failed else None,
    )


def shown_spec(spec: JobSpec, inputs: int = INPUTS_SHOWN) -> job_pb2.JobSpec:
    """Return the message of a specification with at most `inputs` of its inputs."""
    return job_spec_to_proto(msgspec.structs.replace(spec, inputs=spec.inputs[:inputs]))


def _by_size(counters: dict[str, int]) -> tuple[dict[str, int], dict[str, str]]:
    """Return the sums that fit into 64 bits, and in decimal those that do not."""
    large = {name: str(n) for name, n in counters.items() if not _INT64_MIN <= n <= _INT64_MAX}
    return {name: n for name, n in counters.items() if name not in large}, large


def cost_view(cost: job_pb2.Cost) -> Cost:
    """Return what something has cost."""
    return Cost(**_fields(Cost, cost))


def cost_to_proto(cost: Cost) -> job_pb2.Cost:
    """Return the message of what something has cost."""
    return job_pb2.Cost(**msgspec.structs.asdict(cost))


def fleet_view(fleet: fleet_pb2.Fleet) -> FleetView:
    """Return a fleet as its master saw it last."""
    return FleetView(
        target=fleet.target,
        cluster=fleet.cluster,
        groups=tuple(FleetGroupView(**_fields(FleetGroupView, one)) for one in fleet.groups),
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


def _stage_view(stage: job_pb2.StageProgress) -> StageView:
    return StageView(**_fields(StageView, stage))


def stage_to_proto(view: StageView) -> job_pb2.StageProgress:
    """Return the message of a stage; sums beyond 64 bits are sent as the highest number."""
    fields = msgspec.structs.asdict(view)
    fields |= {"records": min(_UINT64, view.records), "bytes": min(_UINT64, view.bytes)}
    fields |= {"skew": printable(view.skew, MAX_MESSAGE)}
    return job_pb2.StageProgress(**fields)


def _failure_to_proto(failure: FailureView) -> failure_pb2.Failure:
    return failure_pb2.Failure(
        kind=FAILURE_KINDS.to_proto[failure.kind],
        message=printable(failure.message, MAX_MESSAGE),
        traceback=printable(failure.traceback, MAX_TRACEBACK),
    )


def _failure_view(
    failure: failure_pb2.Failure, attempt: str = "", worker_id: str = ""
) -> FailureView:
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
        stage=task.stage,
        index=task.index,
        state=TASK_STATES.from_proto(task.state),
        attempts=tuple(AttemptView(**_fields(AttemptView, one)) for one in task.attempts),
        failures=task.failures,
        story=tuple(task.story),
    )


def task_to_proto(view: TaskView) -> job_pb2.Task:
    """Return the message of a task."""
    return job_pb2.Task(
        stage=view.stage,
        index=view.index,
        state=TASK_STATES.to_proto[view.state],
        attempts=[job_pb2.Attempt(**msgspec.structs.asdict(one)) for one in view.attempts],
        failures=view.failures,
        story=[printable(line, _MAX_STORY_LINE) for line in view.story],
    )


def worker_view(worker: job_pb2.Worker) -> WorkerView:
    """Return a worker as the master sees it."""
    versions = {name: getattr(worker.versions, name) for name in _VERSIONS}
    return WorkerView(
        **_fields(WorkerView, worker, labels=tuple(worker.labels), **versions),
    )


def worker_to_proto(view: WorkerView) -> job_pb2.Worker:
    """Return the message of a worker."""
    fields = msgspec.structs.asdict(view)
    versions = {name: fields.pop(name) for name in _VERSIONS}
    return job_pb2.Worker(**fields, versions=job_pb2.Versions(**versions))


def master_view(master: master_pb2.Master) -> MasterView:
    """Return a master as the leader sees it."""
    return MasterView(
        **_fields(MasterView, master, role=MASTER_ROLES.from_proto(master.role)),
    )


def master_to_proto(view: MasterView) -> master_pb2.Master:
    """Return the message of a master."""
    fields = msgspec.structs.asdict(view)
    return master_pb2.Master(**{**fields, "role": MASTER_ROLES.to_proto[view.role]})


def attempt_log(log: job_service_pb2.AttemptLog) -> AttemptLog:
    """Return what one attempt printed."""
    return AttemptLog(attempt=log.attempt, text=log.text, size_bytes=log.size_bytes)
