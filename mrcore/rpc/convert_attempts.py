"""Conversion of attempts: what a worker states that it holds, and what the master wants held."""

from __future__ import annotations

from mrcore.errors import UsageError
from mrcore.model.attempts import NO_PROGRESS, Assignment, AttemptState, HeldAttempt
from mrcore.model.task import FailureKind, TaskFailure, TaskResult
from mrcore.rpc.convert_task import (
    attempt_from_proto,
    elapsed_from_proto,
    progress_from_proto,
    put_progress,
    put_result,
    result_from_proto,
    skip_from_proto,
    work_from_proto,
)
from mrcore.rpc.enums import ATTEMPT_STATES
from mrcore.rpc.v1 import worker_service_pb2


def put_held(message: worker_service_pb2.HeldAttempt, held: HeldAttempt) -> None:
    """Set what a worker states of one attempt; the message is empty."""
    name, task, number = message.attempt, held.attempt.task, held.attempt.number
    # In place, not copied: every request does this for all that its worker holds.
    name.job_id, name.stage, name.index = task.job_id, task.stage, task.index
    name.epoch, name.n = number.epoch, number.n
    message.state = ATTEMPT_STATES.to_proto[held.state]
    message.inputs_version = held.inputs_version
    message.elapsed_seconds = held.elapsed_seconds
    if held.state is AttemptState.RUNNING:
        put_progress(message, held.progress)
    if held.result is not None:
        put_result(message, held.result)


def held_from_proto(message: worker_service_pb2.HeldAttempt) -> HeldAttempt:
    """Return what a worker states of one attempt; raise UsageError for what no worker can state."""
    state = ATTEMPT_STATES.from_proto(message.state)
    result = _result_from_proto(message)
    if (result is not None) != (state is AttemptState.FINISHED):
        raise UsageError("An attempt has a result if, and only if, it is finished.")
    running = state is AttemptState.RUNNING
    return HeldAttempt(
        attempt=attempt_from_proto(message.attempt),
        state=state,
        inputs_version=message.inputs_version,
        elapsed_seconds=elapsed_from_proto(message.elapsed_seconds),
        progress=progress_from_proto(message) if running else NO_PROGRESS,
        result=result,
    )


def _result_from_proto(message: worker_service_pb2.HeldAttempt) -> TaskResult | None:
    """Return the result of an attempt; a result beyond a bound is a failure of the user's code.

    If the request were refused, its worker would leave, and so would the next that runs the task.
    """
    try:
        return result_from_proto(message)
    except UsageError as error:
        return TaskFailure(kind=FailureKind.USER, message=f"its result is refused: {error}")


def assignment_from_proto(message: worker_service_pb2.Assignment) -> Assignment:
    """Return what the master wants; of an attempt that is held, hardly more than its id."""
    work = work_from_proto(message)
    return Assignment(
        attempt=attempt_from_proto(message.attempt),
        inputs_version=message.inputs_version,
        work=work,
        mark_records=message.mark_records,
        skip=() if work is None else skip_from_proto(message),
    )
