"""The wire carries every value unchanged, and refuses what cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcore.errors import UsageError
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import (
    Codec,
    Input,
    JobSpec,
    StepFlags,
)
from mrcore.model.task import (
    BadRecord,
    FailureKind,
    KeyRange,
    Piece,
    Progress,
    RunInput,
    RunSlice,
    Skip,
    Split,
    TaskFailure,
    TaskOutput,
    TaskRef,
    TaskWork,
)
from mrcore.rpc.bounds import check_job_id
from mrcore.rpc.convert import (
    failure_from_proto,
    failure_to_proto,
    job_spec_from_proto,
    job_spec_to_proto,
)
from mrcore.rpc.convert_task import (
    assignment_to_proto,
    attempt_from_proto,
    attempt_to_proto,
    output_from_proto,
    output_to_proto,
    progress_from_proto,
    put_progress,
    put_result,
    result_from_proto,
    skip_from_proto,
    work_from_proto,
)
from mrcore.rpc.v1 import failure_pb2, job_pb2, worker_service_pb2
from tests.support.specs import job_spec
from tests.support.wire_strategies import (
    ATTEMPTS,
    FAILURES,
    MARKS,
    OUTPUTS,
    SPECS,
    TEXT,
    UINT32,
    UINT64,
    URI,
)

STEPS = st.builds(StepFlags, *[st.booleans()] * 5)
SKIPS = st.lists(st.builds(Skip, MARKS, TEXT), max_size=2)
SPLITS = st.builds(
    TaskWork,
    read=st.builds(
        Split,
        st.lists(
            st.builds(Piece, URI, TEXT, UINT64, UINT64, UINT64, TEXT, st.sampled_from(Codec), TEXT),
            max_size=3,
        ).map(tuple),
        UINT32,
    ),
    partitions=UINT32,
)
KEY = st.none() | st.binary(max_size=64)
SLICES = st.builds(RunSlice, UINT32, UINT32, URI, TEXT, UINT64, UINT64)
RUNS = st.builds(
    TaskWork,
    read=st.builds(
        RunInput,
        slices=st.lists(SLICES, max_size=3).map(tuple),
        keys=st.builds(KeyRange, KEY, KEY),
    ),
    partitions=UINT32,
)


def over_the_wire(spec: JobSpec) -> JobSpec:
    sent = job_spec_to_proto(spec).SerializeToString()
    return job_spec_from_proto(job_pb2.JobSpec.FromString(sent))


@given(SPECS)
@settings(max_examples=60)
def test_a_job_crosses_the_wire_unchanged(spec: JobSpec) -> None:
    assert over_the_wire(spec) == spec


@given(OUTPUTS | FAILURES)
@settings(max_examples=100)
def test_a_result_crosses_the_wire_unchanged(result: TaskOutput | TaskFailure) -> None:
    held = worker_service_pb2.HeldAttempt()
    put_result(held, result)
    sent = worker_service_pb2.HeldAttempt.FromString(held.SerializeToString())
    assert result_from_proto(sent) == result


@given(ATTEMPTS, UINT64, st.none() | SPLITS | RUNS, SKIPS)
@settings(max_examples=100)
def test_an_assignment_crosses_the_wire_unchanged(
    attempt: AttemptId, version: int, work: TaskWork | None, skip: list[Skip]
) -> None:
    message = assignment_to_proto(attempt, version, work, mark_records=True, skip=tuple(skip))
    sent = worker_service_pb2.Assignment.FromString(message.SerializeToString())
    assert attempt_from_proto(sent.attempt) == attempt
    assert sent.inputs_version == version
    assert sent.mark_records
    assert skip_from_proto(sent) == tuple(skip)
    assert work_from_proto(sent) == work


@given(st.builds(Progress, st.floats(0, 1), UINT64, UINT64, TEXT))
@settings(max_examples=30)
def test_progress_crosses_the_wire_unchanged(progress: Progress) -> None:
    held = worker_service_pb2.HeldAttempt()
    put_progress(held, progress)
    assert progress_from_proto(held) == progress
    assert result_from_proto(held) is None


def test_text_that_is_not_unicode_is_shown_as_escapes() -> None:
    failure = TaskFailure(kind=FailureKind.USER, message="bad \udcff name", traceback="\udc80")
    assert failure_from_proto(failure_to_proto(failure)).message == "bad \\udcff name"
    output = TaskOutput(bad_records=(BadRecord("f", 0, "c", "x\udcfe"),), counters={"\udcff": 1})
    back = output_from_proto(output_to_proto(output))
    assert back.bad_records[0].record == "x\\udcfe"
    assert back.counters == {"\\udcff": 1}


def test_what_is_too_long_is_cut() -> None:
    failure = TaskFailure(kind=FailureKind.USER, message="m" * 9_000, traceback="t" * 70_000)
    back = failure_from_proto(failure_to_proto(failure))
    assert len(back.message) == 8_192
    assert back.message.endswith("…")
    assert len(back.traceback) == 65_536


def a_spec() -> JobSpec:
    return job_spec(
        "wc",
        inputs=(Input("file:///in/*", "file:///in/", "in/"),),
        output_uri="file:///out",
    )


def test_what_is_not_said_gets_the_default() -> None:
    message = job_spec_to_proto(a_spec())
    for field in ("max_attempts", "lease_seconds", "input_format", "output_format", "compression"):
        message.ClearField(field)
    assert job_spec_from_proto(message) == a_spec()


BREAK: dict[str, tuple[Callable[[job_pb2.JobSpec], object], str]] = {
    "no name": (lambda m: m.ClearField("name"), "name is missing"),
    "long name": (lambda m: setattr(m, "name", "n" * 201), "limit"),
    "name of two lines": (
        lambda m: setattr(m, "name", "a\nb"),
        r"'a\\nb', has a control character",
    ),
    "plugin in red": (lambda m: setattr(m.plugin, "name", "\x1b[31mx"), "has a control character"),
    "no plugin": (lambda m: m.ClearField("plugin"), "SHA-256"),
    "digest in capitals": (lambda m: setattr(m.plugin, "sha256", "A" * 64), "SHA-256"),
    "digest with a path": (lambda m: setattr(m.plugin, "sha256", "../" * 21 + "x"), "SHA-256"),
    "no inputs": (lambda m: m.ClearField("inputs"), "no input"),
    "relative input": (lambda m: setattr(m.inputs[0], "uri", "in/a"), "not a URI"),
    "control character": (lambda m: setattr(m.inputs[0], "uri", "file:///a\nb"), "not a URI"),
    "NUL": (lambda m: setattr(m, "output_uri", "file:///a\0b"), "not a URI"),
    "path trick": (lambda m: setattr(m, "output_uri", "file:///a/../etc"), "`..`"),
    "slash at the end": (lambda m: setattr(m, "output_uri", "gs://b/out/"), "empty steps"),
    "long URI": (lambda m: setattr(m, "output_uri", "gs://" + "x" * 5_000), "limit"),
    "unknown format": (lambda m: setattr(m, "input_format", "xml"), "'xml' for the input format"),
    "unknown output": (lambda m: setattr(m, "output_format", "arrow"), "for the output format"),
    "unknown compression": (lambda m: setattr(m, "compression", 99), "compression"),
    "many reduces": (lambda m: setattr(m, "reduces", 100_001), "reduce tasks"),
    "many bad records": (
        lambda m: setattr(m, "max_bad_records", 10_000_001),
        "The number of bad records is 10,000,001, but must be at most 10,000,000",
    ),
    "many attempts": (lambda m: setattr(m, "max_attempts", 1_001), "of attempts"),
    "endless lease": (lambda m: setattr(m, "lease_seconds", float("inf")), "lease"),
    "tiny lease": (lambda m: setattr(m, "lease_seconds", 0.01), "lease"),
    "no number": (lambda m: setattr(m, "task_timeout_seconds", float("nan")), "time limit"),
    "negative time": (lambda m: setattr(m, "task_timeout_seconds", -1.0), "time limit"),
    "long param": (lambda m: m.params.update({"k": "v" * 65_537}), "param k"),
    "many params": (lambda m: m.params.update({str(i): "" for i in range(1_001)}), "params"),
    "bad temp": (lambda m: setattr(m, "temp_uri", "tmp"), "not a URI"),
}


@pytest.mark.parametrize("name", BREAK)
def test_a_job_that_cannot_be_is_refused_with_a_sentence(name: str) -> None:
    breaks, words = BREAK[name]
    message = job_spec_to_proto(a_spec())
    breaks(message)
    with pytest.raises(UsageError, match=words):
        job_spec_from_proto(message)


def test_a_name_that_is_not_unicode_is_refused_before_it_is_sent() -> None:
    spec = msgspec.structs.replace(a_spec(), output_uri="file:///\udcff")
    with pytest.raises(UsageError, match="not valid Unicode"):
        job_spec_to_proto(spec)


@pytest.mark.parametrize("text", ["", "..", "a/b", "A", "-a", "a" * 64, "a\n"])
def test_a_job_id_cannot_carry_a_path(text: str) -> None:
    with pytest.raises(UsageError, match="not a job id"):
        check_job_id(text)
    message = attempt_to_proto(AttemptId(TaskId("a", 0, 0), AttemptNumber(1, 1)))
    message.job_id = text
    with pytest.raises(UsageError, match="not a job id"):
        attempt_from_proto(message)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"counters": {str(i): 1 for i in range(1_001)}}, "1,001 counters"),
        ({"counters": {"n" * 201: 1}}, "The name of a counter is 201 characters long"),
        ({"section_bytes": [1] * 100_001}, "100,001 sections of a run"),
        ({"digest": b"d" * 65}, "65 bytes of a digest"),
        ({"result": b"r" * 65_537}, "65,537 bytes of a result"),
        ({"number_kinds": {str(i): "int" for i in range(10_001)}}, "10,001 positions"),
        ({"object": {"uri": "mem://" + "x" * 9_000}}, "The URI of a run is 9,006"),
        ({"object": {"generation": "x" * 9_000}}, "A generation is 9,000"),
    ],
)
def test_an_output_beyond_its_bounds_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        output_from_proto(worker_service_pb2.TaskOutput(**fields))


def test_a_failure_beyond_its_bounds_is_cut_or_refused() -> None:
    lost = [failure_pb2.TaskRef(stage=1, index=n) for n in range(20_000)]
    many = failure_pb2.Failure(kind=failure_pb2.Failure.KIND_USER, lost_runs=lost)
    assert failure_from_proto(many).lost_runs == tuple(TaskRef(1, n) for n in range(10_000))
    endless = failure_pb2.Failure(kind=failure_pb2.Failure.KIND_USER)
    endless.mark.uri = "x" * 9_000
    with pytest.raises(UsageError, match="The file of a record is 9,000 characters long"):
        failure_from_proto(endless)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_time_that_is_none_is_no_time(seconds: float) -> None:
    message = worker_service_pb2.TaskOutput(elapsed_seconds=seconds)
    assert output_from_proto(message).elapsed_seconds == 0.0
    held = worker_service_pb2.HeldAttempt(fraction=seconds)
    assert progress_from_proto(held).fraction == 0.0
