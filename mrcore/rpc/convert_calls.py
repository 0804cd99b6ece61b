"""Between the messages of calls and sessions and the values of `mrcore.model`.

What another process sent is checked here, as in `mrcore.rpc.convert`.
"""

from __future__ import annotations

from typing import Final

from mrcore.errors import UsageError
from mrcore.model.calls import CALL_STAGE, MAX_INLINE_ARGUMENTS, MAX_NEEDS, MAX_OBJECTS, CallPlan
from mrcore.model.ids import TaskId
from mrcore.model.task import CallInput, CallValue
from mrcore.rpc.bounds import check_count, check_job_id, check_sha256, text_within
from mrcore.rpc.convert_objects import object_from_proto, object_to_proto
from mrcore.rpc.v1 import call_service_pb2, worker_service_pb2

MAX_CALLS: Final = 100_000
"""Calls of one message; its size is bounded, too."""


def call_to_proto(plan: CallPlan) -> call_service_pb2.Call:
    """Return the message."""
    return call_service_pb2.Call(
        function=plan.function,
        arguments=plan.arguments,
        arguments_object=plan.arguments_object,
        needs=[
            call_service_pb2.CallRef(session_id=need.job_id, index=need.index)
            for need in plan.needs
        ],
        each=plan.each,
        objects=plan.objects,
    )


def call_from_proto(message: call_service_pb2.Call) -> CallPlan:
    """Return the call; raise UsageError for one that is malformed or too long."""
    if len(message.arguments) > MAX_INLINE_ARGUMENTS:
        raise UsageError(
            f"The arguments of a call take {len(message.arguments):,} bytes, and "
            f"{MAX_INLINE_ARGUMENTS:,} is the limit in a message. Store them with PutObject."
        )
    check_count(len(message.needs), "the number of values that a call takes", MAX_NEEDS)
    check_count(len(message.objects), "the number of objects that a call takes", MAX_OBJECTS)
    if message.arguments_object:
        check_sha256(message.arguments_object, "the arguments of a call")
    return CallPlan(
        function=check_sha256(message.function, "the function of a call"),
        arguments=message.arguments,
        arguments_object=message.arguments_object,
        needs=tuple(call_ref_from_proto(need) for need in message.needs),
        each=message.each,
        objects=tuple(check_sha256(one, "an object of a call") for one in message.objects),
    )


def call_ref_from_proto(message: call_service_pb2.CallRef) -> TaskId:
    """Return the call; raise UsageError for a session's id that cannot be."""
    return TaskId(check_job_id(message.session_id), CALL_STAGE, message.index)


def call_input_to_proto(call: CallInput) -> worker_service_pb2.CallInput:
    """Return the message."""
    return worker_service_pb2.CallInput(
        function=call.function,
        arguments=call.arguments,
        arguments_object=call.arguments_object,
        values=[_value_to_proto(value) for value in call.values],
        each=call.each,
        store_value=call.store_value,
    )


def call_input_from_proto(message: worker_service_pb2.CallInput) -> CallInput:
    """Return what to call."""
    return CallInput(
        function=text_within(message.function, "the function of a call", 64),
        arguments=message.arguments,
        arguments_object=text_within(message.arguments_object, "the arguments of a call", 64),
        values=tuple(_value_from_proto(value) for value in message.values),
        each=message.each,
        store_value=message.store_value,
    )


def _value_to_proto(value: CallValue) -> worker_service_pb2.CallValue:
    if value.object is None:
        return worker_service_pb2.CallValue(data=value.data)
    return worker_service_pb2.CallValue(object=object_to_proto(value.object))


def _value_from_proto(message: worker_service_pb2.CallValue) -> CallValue:
    if message.WhichOneof("value") == "object":
        return CallValue(object=object_from_proto(message.object))
    return CallValue(data=message.data)
