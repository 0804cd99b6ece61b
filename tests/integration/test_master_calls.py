"""Calls through a real master, with a client and a worker that the test drives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from mrcore import errors
from mrcore.model import object_names
from mrcore.model.ids import AttemptId, TaskId
from mrcore.model.task import CallInput, CallValue, FailureKind, TaskFailure, TaskOutput
from mrcore.rpc.roles import Role
from mrcore.rpc.v1 import job_pb2
from mrcore.storage.base import ObjectInfo
from mrcore.storage.registry import storage_for
from tests.support.call_client import FUNCTION, FUNCTION_SHA, CallClient, call_of, ref
from tests.support.daemons import Daemon
from tests.support.fake_worker import FakeClient, FakeWorker
from tests.support.master_site import MasterSite, free_port, refused


@pytest.fixture
def house(tmp_path: Path) -> MasterSite:
    return MasterSite(tmp_path)


@pytest.fixture
def master(house: MasterSite) -> Iterator[Daemon]:
    with house.master() as daemon:
        yield daemon


@pytest.fixture
def client(house: MasterSite, master: Daemon) -> Iterator[CallClient]:
    with CallClient(house.credentials()) as found:
        yield found


@pytest.fixture
def worker(house: MasterSite, client: CallClient) -> Iterator[FakeWorker]:
    with FakeWorker(house.credentials(Role.WORKER)) as found:
        found.join()
        yield found


def argument(worker: FakeWorker, attempt: AttemptId) -> int:
    """Return the number that a call has for its argument."""
    read = worker.work[attempt].read
    assert isinstance(read, CallInput)
    return int(read.arguments)


def values(worker: FakeWorker, attempt: AttemptId) -> tuple[CallValue, ...]:
    """Return the values that a call takes."""
    read = worker.work[attempt].read
    assert isinstance(read, CallInput)
    return read.values


def square_all(worker: FakeWorker) -> None:
    """Make calls until none is assigned: the value is the square of the argument."""
    worker.synchronize()
    while worker.work:
        for attempt in worker.work:
            number = argument(worker, attempt)
            worker.results[attempt] = TaskOutput(result=str(number * number).encode())
        worker.synchronize()


def by_index(worker: FakeWorker) -> dict[int, AttemptId]:
    return {attempt.task.index: attempt for attempt in worker.work}


def test_calls_leave_values_and_a_closed_session_succeeds(
    house: MasterSite, client: CallClient, worker: FakeWorker
) -> None:
    session = client.open()
    assert client.open() == session  # a repeat of the request
    assert client.add(session, 0, [call_of(n) for n in range(100)]) == 100
    assert client.add(session, 50, [call_of(n) for n in range(50, 110)]) == 110
    watch = client.watch(session)
    square_all(worker)
    ended = {end.index: end.value for end in islice(watch, 110)}
    assert ended == {n: str(n * n).encode() for n in range(110)}
    assert client.read(call=ref(session, 7)) == b"49"
    client.close(session)
    with refused(errors.JobEndedError, "is closed"):
        client.add(session, 110, [call_of(1)])
    with FakeClient(house.credentials()) as jobs:
        assert jobs.get(session).state == job_pb2.JOB_STATE_RUNNING
        client.release(session, *range(110))
        assert list(watch) == []
        assert jobs.get(session).state == job_pb2.JOB_STATE_SUCCEEDED
    with refused(errors.NotFoundError, "no value"):
        client.read(call=ref(session, 7))


def test_a_failure_carries_its_exception_and_what_was_printed(
    client: CallClient, worker: FakeWorker
) -> None:
    session = client.open(retries=1)
    client.add(session, 0, [call_of(1)])
    numbers = []
    for _ in range(2):
        worker.synchronize()
        (attempt,) = worker.work
        numbers.append(attempt.number)
        worker.results[attempt] = TaskFailure(
            kind=FailureKind.USER,
            message="ValueError: no",
            traceback="line 3",
            exception=b"pickled",
            printed=b"hello",
        )
        worker.synchronize()
    assert len(set(numbers)) == 2
    (end,) = islice(client.watch(session), 1)
    assert (end.failure.message, end.failure.exception) == ("ValueError: no", b"pickled")
    assert (end.failure.traceback, end.printed, end.cancelled) == ("line 3", b"hello", False)


def test_values_go_to_the_calls_that_take_them(
    house: MasterSite, client: CallClient, worker: FakeWorker
) -> None:
    first, second = client.open("s1"), client.open("s2")
    client.add(first, 0, [call_of(0), call_of(1)])
    needs = (TaskId(first, 0, 1), TaskId(first, 0, 0))
    client.add(second, 0, [call_of(2, needs)])
    worker.synchronize()
    assert {attempt.task.job_id for attempt in worker.work} == {first}
    attempts = by_index(worker)
    large = object_names.result_uri(house.state_uri, worker.jobs[first], attempts[1])
    with storage_for(large).open_write(large) as writer:
        writer.write(b"large" * 20_000)
        info = writer.commit()
    worker.results = {
        attempts[0]: TaskOutput(result=b"small"),
        attempts[1]: TaskOutput(object=info),
    }
    worker.synchronize()
    assert client.read(call=ref(first, 1)) == b"large" * 20_000
    # Released values stay for the call that takes them.
    client.release(first, 0, 1)
    with refused(errors.NotFoundError, "no value"):
        client.read(call=ref(first, 5))
    worker.synchronize()
    (attempt,) = worker.work
    taken = values(worker, attempt)
    assert [(v.data, v.object and (v.object.uri, v.object.generation)) for v in taken] == [
        (b"", (large, info.generation)),
        (b"small", None),
    ]
    worker.results = {attempt: TaskOutput(result=b"joined")}
    worker.synchronize()
    assert [end.value for end in islice(client.watch(second), 1)] == [b"joined"]
    client.close(first)
    with FakeClient(house.credentials()) as jobs:
        assert jobs.wait(first).state == job_pb2.JOB_STATE_SUCCEEDED
    with refused(errors.UnknownJobError, "has ended"):
        client.release(first, 0)


def test_a_call_fails_whose_argument_failed_or_is_gone(
    client: CallClient, worker: FakeWorker
) -> None:
    session = client.open()
    needs = (TaskId(session, 0, 0),)
    client.add(session, 0, [call_of(0), call_of(1, needs), call_of(2, (TaskId(session, 0, 1),))])
    with refused(errors.JobEndedError, "has not been added yet"):
        client.add(session, 3, [call_of(3, (TaskId(session, 0, 9),))])
    worker.synchronize()
    (attempt,) = worker.work
    worker.fail(attempt, "ValueError: no")
    worker.synchronize()
    client.release(session, 0)
    client.add(session, 3, [call_of(3, needs)])
    ends = {end.index: end.failure.message for end in islice(client.watch(session), 3)}
    name = f"The argument that is the result of call-0000{{}} of {session}"
    assert ends[1] == f"{name.format(0)} failed: ValueError: no"
    assert ends[2].startswith(f"{name.format(1)} failed: {name.format(0)} failed")
    assert ends[3].startswith(f"{name.format(0)} is gone")
    assert not worker.work


def test_cancelled_calls_are_killed(client: CallClient, worker: FakeWorker) -> None:
    session = client.open()
    client.add(session, 0, [call_of(0), call_of(1)])
    worker.synchronize()
    client.cancel(session, 0)
    worker.synchronize()
    assert list(by_index(worker)) == [1]
    (end,) = islice(client.watch(session), 1)
    assert (end.index, end.cancelled, end.failure.message) == (0, True, "The call was cancelled.")
    client.close(session, cancel=True)
    worker.synchronize()
    assert not worker.work
    with refused(errors.UnknownJobError, "Its client has closed it"):
        list(client.watch(session))


def test_objects_are_stored_and_read_back(
    house: MasterSite, client: CallClient, worker: FakeWorker
) -> None:
    uri = client.put(FUNCTION)
    assert uri == object_names.object_uri(house.state_uri, FUNCTION_SHA)
    assert client.put(FUNCTION) == uri
    assert client.put(b"", FUNCTION_SHA) == uri  # kept for another hour
    assert client.read(sha256=FUNCTION_SHA) == FUNCTION
    with refused(errors.UsageError, "does not have the SHA-256"):
        client.put(b"other", FUNCTION_SHA)
    unknown = "cd" * 32
    with refused(errors.NotFoundError, "or store it with PutObject"):
        client.put(b"", unknown)
    with refused(errors.NotFoundError, ""):
        client.read(sha256=unknown)
    session = client.open()
    storage_for(uri).delete(uri)
    # Another master does not know what was stored, and looks.
    again_at = f"127.0.0.1:{free_port()}"
    with house.master("--take-over", listen=again_at), CallClient(house.credentials()) as again:
        with refused(errors.NotFoundError, "or store it with PutObject"):
            again.add(session, 0, [call_of(0)])
        again.put(FUNCTION)
        assert again.add(session, 0, [call_of(0)]) == 1


def test_a_restarted_master_goes_on_with_the_calls(house: MasterSite) -> None:
    listen = f"127.0.0.1:{free_port()}"
    with house.master(listen=listen) as master, CallClient(house.credentials()) as client:
        session = client.open()
        needs = (TaskId(session, 0, 0),)
        client.add(session, 0, [call_of(0), call_of(1), call_of(2), call_of(3, needs)])
        worker = FakeWorker(house.credentials(Role.WORKER))
        worker.slots = 2
        worker.join()
        one, other = by_index(worker)[0], by_index(worker)[1]
        worker.results[one] = TaskOutput(result=b"zero")
        worker.synchronize()
        master.kill()
    with house.master(listen=listen), CallClient(house.credentials()) as client, worker:
        worker.reconnect()
        worker.synchronize()
        assert other in worker.work, "what runs goes on"
        worker.results = {
            attempt: TaskOutput(result=b"late") for attempt in worker.work if attempt == other
        }
        worker.synchronize()
        square_all_but_values(worker)
        ends = {end.index: end.value for end in islice(client.watch(session), 4)}
        assert ends == {0: b"zero", 1: b"late", 2: b"4", 3: b"zero!"}


def square_all_but_values(worker: FakeWorker) -> None:
    """Make calls until none is assigned: one that takes a value returns it with a mark."""
    worker.synchronize()
    while worker.work:
        for attempt in worker.work:
            number = argument(worker, attempt)
            taken = b"".join(value.data for value in values(worker, attempt))
            value = taken + b"!" if taken else str(number * number).encode()
            worker.results[attempt] = TaskOutput(result=value)
        worker.synchronize()


def test_a_large_value_goes_when_it_is_released(
    house: MasterSite, client: CallClient, worker: FakeWorker
) -> None:
    session = client.open()
    client.add(session, 0, [call_of(0)])
    worker.synchronize()
    (attempt,) = worker.work
    uri = object_names.result_uri(house.state_uri, worker.jobs[session], attempt)
    storage = storage_for(uri)
    with storage.open_write(uri) as writer:
        writer.write(b"large")
        info: ObjectInfo = writer.commit()
    worker.results[attempt] = TaskOutput(object=info)
    worker.synchronize()
    (end,) = islice(client.watch(session), 1)
    assert end.value_bytes == 5
    client.close(session)
    client.release(session, 0)
    with FakeClient(house.credentials()) as jobs:
        assert jobs.wait(session).state == job_pb2.JOB_STATE_SUCCEEDED
    with pytest.raises(errors.NotFoundError):
        storage.stat(uri)
    with refused(errors.UnknownJobError, "No session unknown-1"):
        list(client.watch("unknown-1"))
