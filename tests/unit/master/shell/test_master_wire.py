"""Conversion for the wire: clients see what the master sees; impossible reports are refused."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcore.errors import UsageError
from mrcore.master.core.events import Synced, WorkerAbout
from mrcore.master.shell.convert import MAX_WORKER_ID, _about, synced_from_proto
from mrcore.model.attempts import AttemptState, HeldAttempt
from mrcore.model.job import JobSpec, JobState, TaskState
from mrcore.model.snapshots import (
    AttemptCounts,
    AttemptView,
    Cost,
    FailureView,
    JobView,
    StageView,
    TaskView,
    WorkerView,
)
from mrcore.model.task import FailureKind, Progress, TaskFailure, TaskOutput
from mrcore.rpc import views as client_views
from mrcore.rpc.convert_task import attempt_to_proto, put_progress, put_result
from mrcore.rpc.v1 import job_pb2
from mrcore.rpc.v1 import worker_service_pb2 as pb
from tests.support.wire_strategies import ATTEMPTS, FAILURES, OUTPUTS, SPECS, TEXT, UINT32, UINT64

NONCE = "the nonce"
FLOAT = st.floats(0, 1e9, allow_nan=False)
STATES = {
    AttemptState.UNSTARTED: pb.HeldAttempt.STATE_UNSTARTED,
    AttemptState.RUNNING: pb.HeldAttempt.STATE_RUNNING,
    AttemptState.FINISHED: pb.HeldAttempt.STATE_FINISHED,
}
PROGRESS = st.builds(Progress, st.floats(0, 1), UINT64, UINT64, TEXT)
HELD = st.one_of(
    st.builds(HeldAttempt, ATTEMPTS, st.just(AttemptState.UNSTARTED), UINT64, FLOAT),
    st.builds(HeldAttempt, ATTEMPTS, st.just(AttemptState.RUNNING), UINT64, FLOAT, PROGRESS),
    st.builds(
        HeldAttempt,
        ATTEMPTS,
        st.just(AttemptState.FINISHED),
        UINT64,
        FLOAT,
        result=OUTPUTS | FAILURES,
    ),
)
SYNCED = st.builds(
    Synced,
    worker_id=st.text(min_size=1, max_size=20),
    session=UINT64,
    sequence=UINT64,
    epoch=UINT64,
    slots=UINT32,
    held=st.lists(HELD, max_size=3).map(tuple),
    draining=st.booleans(),
    sees_store=st.booleans(),
    park=st.booleans(),
    about=st.builds(WorkerAbout, TEXT, UINT32, TEXT, TEXT, TEXT, UINT64),
)


def request_of(event: Synced) -> pb.SynchronizeRequest:
    request = pb.SynchronizeRequest(
        worker_id=event.worker_id,
        session=event.session,
        sequence=event.sequence,
        epoch=event.epoch,
        slots=event.slots,
        memory_bytes=event.about.memory_bytes,
        host=event.about.host,
        process_id=event.about.process,
        versions=job_pb2.Versions(
            python=event.about.python, mrcore=event.about.mrcore, pyarrow=event.about.pyarrow
        ),
        draining=event.draining,
        store_nonce=NONCE if event.sees_store else "another",
        park=event.park,
    )
    for held in event.held:
        message = request.held.add(
            attempt=attempt_to_proto(held.attempt),
            state=STATES[held.state],
            inputs_version=held.inputs_version,
            elapsed_seconds=held.elapsed_seconds,
        )
        put_progress(message, held.progress)
        if held.result is not None:
            put_result(message, held.result)
    return request


@given(SYNCED)
@settings(max_examples=60)
def test_what_a_worker_says_arrives_unchanged(event: Synced) -> None:
    sent = request_of(event).SerializeToString()
    assert synced_from_proto(pb.SynchronizeRequest.FromString(sent), NONCE) == event


def test_details_of_a_worker_are_read_anew_when_they_change() -> None:
    request = a_request()
    for cpus, python, labels in ((1.0, "3.11", ["a"]), (1.0, "3.12", ["a"]), (2.0, "3.12", ["b"])):
        request.cpus, request.versions.python = cpus, python
        request.labels[:] = labels
        for _ in range(2):
            about = synced_from_proto(request, NONCE).about
            assert (about.cpus, about.python, about.labels) == (cpus, python, tuple(labels))


def test_a_long_name_of_a_host_is_cut_and_kept_by_nobody() -> None:
    request, kept = a_request(), _about.cache_info().currsize
    request.host = "h" * 10_000
    assert len(synced_from_proto(request, NONCE).about.host) <= MAX_WORKER_ID
    assert _about.cache_info().currsize == kept


def a_request() -> pb.SynchronizeRequest:
    request = pb.SynchronizeRequest(worker_id="w", session=1, sequence=1, slots=1)
    request.held.add(
        attempt=pb.AttemptId(job_id="a"),
        state=pb.HeldAttempt.STATE_RUNNING,
    )
    return request


BREAK: dict[str, tuple[Callable[[pb.SynchronizeRequest], object], str]] = {
    "no id": (lambda r: r.ClearField("worker_id"), "worker's id is missing"),
    "long id": (lambda r: setattr(r, "worker_id", "w" * 201), "limit"),
    "no state": (lambda r: r.held[0].ClearField("state"), "means nothing"),
    "unknown state": (lambda r: setattr(r.held[0], "state", 9), "means nothing"),
    "no result": (lambda r: setattr(r.held[0], "state", 3), "if, and only if"),
    "early result": (lambda r: put_result(r.held[0], TaskOutput()), "if, and only if"),
    "job id with a path": (lambda r: setattr(r.held[0].attempt, "job_id", "../x"), "job id"),
    "many": (lambda r: r.held.extend([r.held[0]] * 10_000), "10,000 attempts"),
    "long version": (lambda r: setattr(r.versions, "python", "3" * 101), "limit"),
}


@pytest.mark.parametrize("name", BREAK)
def test_what_no_worker_can_say_is_refused(name: str) -> None:
    breaks, words = BREAK[name]
    request = a_request()
    synced_from_proto(request, NONCE)
    breaks(request)
    with pytest.raises(UsageError, match=words):
        synced_from_proto(request, NONCE)


def test_a_result_beyond_its_bounds_fails_its_attempt_and_not_its_worker() -> None:
    request = a_request()
    request.held[0].state = pb.HeldAttempt.STATE_FINISHED
    request.held[0].output.counters.update({str(n): 1 for n in range(1_001)})
    (held,) = synced_from_proto(request, NONCE).held
    assert held.result == TaskFailure(
        kind=FailureKind.USER,
        message="its result is refused: A task reports 1,001 counters, and 1,000 is the limit.",
    )


COUNTS = st.builds(
    AttemptCounts,
    **dict.fromkeys(
        ("started", "won", "failed", "infrastructure", "expired", "preempted", "superseded"), UINT64
    ),
)
STAGES = st.builds(
    StageView,
    name=TEXT,
    **dict.fromkeys(("tasks", "idle", "in_progress", "completed"), UINT32),
    records=UINT64,
    bytes=UINT64,
    done_tasks=FLOAT,
    skew=TEXT,
)


FAILURE_VIEWS = st.builds(
    FailureView, kind=st.sampled_from(FailureKind), message=TEXT, traceback=TEXT
)
COSTS = st.builds(
    Cost,
    **dict.fromkeys(("useful", "boot", "idle", "lost", "master", "operations"), FLOAT),
    **dict.fromkeys(("class_a", "class_b", "preemptions"), UINT64),
    vm_seconds=FLOAT,
)
JOBS = st.builds(
    JobView,
    job_id=TEXT,
    name=TEXT,
    state=st.sampled_from(JobState),
    output_uri=TEXT,
    stages=st.lists(STAGES, max_size=3).map(tuple),
    counters=st.dictionaries(TEXT, st.integers(-(2**70), 2**70), max_size=3),
    attempts=COUNTS,
    message=TEXT,
    failure=st.none() | FAILURE_VIEWS,
    recent_failures=st.lists(
        st.builds(
            FailureView,
            kind=st.sampled_from(FailureKind),
            message=TEXT,
            traceback=TEXT,
            attempt=TEXT,
            worker_id=TEXT,
        ),
        max_size=2,
    ).map(tuple),
    note=TEXT,
    waits_for=st.lists(TEXT, max_size=2).map(tuple),
    submitted_seconds=FLOAT,
    ended_seconds=FLOAT,
    input_bytes=UINT64,
    bad_records=UINT64,
    cost=st.none() | COSTS,
)


@given(JOBS, SPECS)
@settings(max_examples=40)
def test_a_client_sees_the_job_that_the_master_sees(job: JobView, spec: JobSpec) -> None:
    of_spec = ("name", "output_uri", "partition_by", "priority", "limit")
    job = msgspec.structs.replace(job, **{name: getattr(spec, name) for name in of_spec})
    sent = job_pb2.Job.FromString(client_views.job_to_proto(job, spec).SerializeToString())
    assert client_views.job_view(sent) == job


TASKS = st.builds(
    TaskView,
    stage=TEXT,
    index=UINT32,
    state=st.sampled_from(TaskState),
    attempts=st.lists(
        st.builds(
            AttemptView,
            number=ATTEMPTS.map(lambda attempt: str(attempt.number)),
            worker_id=TEXT,
            state=TEXT,
            elapsed_seconds=FLOAT,
            fraction=FLOAT,
            status=TEXT,
            records_read=UINT32,
            bytes_read=UINT32,
        ),
        max_size=2,
    ).map(tuple),
    failures=UINT32,
    story=st.lists(TEXT, max_size=3).map(tuple),
)


@given(TASKS)
@settings(max_examples=40)
def test_a_client_sees_the_task_that_the_master_sees(task: TaskView) -> None:
    sent = job_pb2.Task.FromString(client_views.task_to_proto(task).SerializeToString())
    assert client_views.task_view(sent) == task


WORKERS = st.builds(
    WorkerView,
    worker_id=TEXT,
    host=TEXT,
    **dict.fromkeys(("process_id", "slots", "running", "unstarted"), UINT32),
    draining=st.booleans(),
    silent_seconds=FLOAT,
    **dict.fromkeys(("python", "mrcore", "pyarrow", "note"), TEXT),
    labels=st.lists(TEXT).map(tuple),
    **dict.fromkeys(("cpus", "cpus_reserved"), FLOAT),
    **dict.fromkeys(("memory_bytes", "memory_reserved"), UINT32),
)


@given(WORKERS)
@settings(max_examples=40)
def test_a_client_sees_the_worker_that_the_master_sees(worker: WorkerView) -> None:
    sent = job_pb2.Worker.FromString(client_views.worker_to_proto(worker).SerializeToString())
    assert client_views.worker_view(sent) == worker
