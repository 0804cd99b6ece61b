"""Problems of calls in sentences: arguments that never come, and calls that come too early."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mrcore.master.core.durable_calls import calls_of
from mrcore.master.core.events import CallsSent
from mrcore.model.ids import TaskId
from mrcore.model.task import FailureKind, TaskFailure

if TYPE_CHECKING:
    from mrcore.master.core.cluster import Cluster

_PASSED_ON_BYTES: Final = 8_192
"""Longest exception that is passed on to the calls that wanted the value."""
_CAUSE_CHARACTERS: Final = 1_000
"""Length of what those say about the failure."""


def passed_on(need: TaskId, failure: TaskFailure | None) -> TaskFailure:
    """Return why a call fails whose argument is the result of one that failed, or was cancelled.

    A chain of failures stays bounded (test_what_is_said_of_a_lost_argument_has_a_bound).
    """
    name = f"The argument that is the result of call-{need.index:05d} of {need.job_id}"
    if failure is None:
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
    """Return why calls cannot be added yet: one before them, or one that they need, is missing.

    Calls of closed or ended sessions are not waited for: they never come
    (91_calls_sent_again, 98_values_of_an_ended_session).
    """
    session = cluster.durable.jobs[event.job_id].calls
    assert session is not None, f"{event.job_id} is not a session"
    if event.first > session.added:
        return (
            f"Call {event.first} of {event.job_id} was sent before call {session.added}. Send "
            "the calls in order."
        )
    for index, plan in enumerate(event.calls, event.first):
        for need in plan.needs:
            other = calls_of(cluster.durable.jobs, need.job_id)
            known = index if need.job_id == event.job_id else other.added if other else None
            closed = other is not None and other.closed
            if known is not None and need.index >= known and not closed:
                return (
                    f"Call {index} of {event.job_id} takes the value of call {need.index} of "
                    f"{need.job_id}, which has not been added yet. Send that one first."
                )
    return None
