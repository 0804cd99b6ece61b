"""Calls and sessions on the wire: what is sent arrives, and what cannot be is refused."""

from __future__ import annotations

import pytest

from mrcore.errors import UsageError
from mrcore.model.calls import NO_PLUGIN, CallPlan
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import Resources, Session
from mrcore.model.stages import Calls, Result, stage_name, stages_of
from mrcore.model.task import (
    CallInput,
    CallValue,
    FailureKind,
    TaskFailure,
    TaskOutput,
    TaskWork,
)
from mrcore.rpc import convert, convert_calls, convert_task
from mrcore.rpc.v1 import call_service_pb2, job_pb2
from mrcore.storage.base import ObjectInfo
from tests.support.specs import job_spec

SHA = "ab" * 32
SPEC = job_spec(
    "calls",
    output_uri="",
    plugin=NO_PLUGIN,
    resources=Resources(cpus=2.0, memory_bytes=1 << 30, labels=("gpu", "zone=a")),
    session=Session(retries=3, keep=True),
)


def test_a_session_arrives_as_it_was_sent() -> None:
    assert convert.job_spec_from_proto(convert.job_spec_to_proto(SPEC)) == SPEC


def test_a_session_has_one_stage_of_calls() -> None:
    (stage,) = stages_of(SPEC)
    assert stage.reads == Calls()
    assert stage.writes == Result()
    assert stage_name(SPEC, 0) == "call"


def test_a_call_arrives_as_it_was_added() -> None:
    needs = (TaskId("calls-1", 0, 3), TaskId("calls-2", 0, 0))
    plan = CallPlan(SHA, b"arguments", needs=needs, each=True, objects=("cd" * 32,))
    assert convert_calls.call_from_proto(convert_calls.call_to_proto(plan)) == plan


def test_the_work_of_a_call_arrives_as_it_was_assigned() -> None:
    large = ObjectInfo(uri="gs://b/value", size_bytes=9, generation="4", crc32c=7)
    work = TaskWork(
        CallInput(SHA, arguments_object=SHA, values=(CallValue(b"x"), CallValue(object=large)))
    )
    attempt = AttemptId(TaskId("calls-1", 0, 3), AttemptNumber(1, 2))
    message = convert_task.assignment_to_proto(attempt, 0, work)
    assert convert_task.work_from_proto(message) == work


def test_what_a_call_printed_and_raised_arrives() -> None:
    output = TaskOutput(result=b"value", printed=b"hello\n")
    assert convert_task.output_from_proto(convert_task.output_to_proto(output)) == output
    failure = TaskFailure(kind=FailureKind.USER, message="m", exception=b"pickle", printed=b"x")
    assert convert.failure_from_proto(convert.failure_to_proto(failure)) == failure


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (call_service_pb2.Call(function="short"), "64 hexadecimal digits"),
        (call_service_pb2.Call(function=SHA, arguments=bytes(70_000)), "PutObject"),
        (
            call_service_pb2.Call(
                function=SHA, needs=[call_service_pb2.CallRef(session_id="../x")]
            ),
            "not a job id",
        ),
    ],
)
def test_a_malformed_call_is_refused(call: call_service_pb2.Call, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        convert_calls.call_from_proto(call)


@pytest.mark.parametrize(
    "resources",
    [
        job_pb2.Resources(cpus=-1.0),
        job_pb2.Resources(cpus=float("nan")),
        job_pb2.Resources(labels=["two words"]),
        job_pb2.Resources(labels=[""]),
    ],
)
def test_resources_that_cannot_be_are_refused(resources: job_pb2.Resources) -> None:
    message = convert.job_spec_to_proto(SPEC)
    message.resources.CopyFrom(resources)
    with pytest.raises(UsageError):
        convert.job_spec_from_proto(message)
