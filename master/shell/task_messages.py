"""Messages with the work of one task, for those who run it again elsewhere."""

from __future__ import annotations

from mrcore.errors import UnavailableError, UnknownJobError, UsageError
from mrcore.master.core.ended import leaves_remains
from mrcore.master.core.machine import Machine
from mrcore.master.core.records import JobRecord
from mrcore.master.shell.assignments import Assigner
from mrcore.master.shell.convert import check_stage
from mrcore.model.attempts import Assignment
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.rpc.convert import failure_to_proto
from mrcore.rpc.enums import JOB_STATES
from mrcore.rpc.v1 import job_service_pb2 as pb
from mrcore.rpc.views import shown_spec


def task_message(
    machine: Machine, assigner: Assigner, state_uri: str, request: pb.GetTaskRequest
) -> pb.GetTaskResponse:
    """Return what a task reads, and how its attempts have failed.

    Raises UnknownJobError, UsageError for a task that the job does not have, and UnavailableError
    for the moment in which the remains of the job are stored.
    """
    job = machine.cluster.job(request.job_id)
    if job is None:
        raise UnknownJobError(f"No job {request.job_id} is known here: `mrcore jobs` lists them.")
    names = [stage.name for stage in job.stages]
    check_stage(request.stage or "without a name", names)
    stage = names.index(request.stage)
    if request.index >= len(job.stages[stage].tasks):
        raise UsageError(
            f"Stage {request.stage} of {job.job_id} has {len(job.stages[stage].tasks)} tasks, "
            "counted from 0. Name one of them."
        )
    if leaves_remains(job):
        raise UnavailableError(f"The remains of {job.job_id} are being stored. Try again soon.")
    task = job.stages[stage].tasks[request.index]
    response = pb.GetTaskResponse(
        state_uri=state_uri,
        state=JOB_STATES.to_proto[job.state],
        spec=shown_spec(job.spec, inputs=1),
        failed_attempts=[str(failed.number) for failed in task.failed],
    )
    if task.last_failure is not None:
        response.last_failure.CopyFrom(failure_to_proto(task.last_failure))
    if not job.state.final:
        _add_work(response, assigner, job, TaskId(job.job_id, stage, request.index))
    return response


def _add_work(
    response: pb.GetTaskResponse, assigner: Assigner, job: JobRecord, task: TaskId
) -> None:
    record = job.task(task)
    number = record.failed[-1].number if record.failed else AttemptNumber(1, 1)
    version = job.stages[task.stage].version
    wanted = Assignment(AttemptId(task, number), version, skip=record.skip)
    message = assigner.assignment(job, wanted)
    if message is not None:
        response.assignment.CopyFrom(message)
    elif job.calls is not None:
        response.missing = "it has ended, and the arguments of a call are kept until its end only"
    else:
        response.missing = "it reads runs of tasks that have not all got a result yet"
