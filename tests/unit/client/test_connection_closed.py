"""Channels of a connection: few of them, and an error of ours once they are closed."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mrcore.client.calls import CallClient
from mrcore.client.client import MasterClient
from mrcore.client.connection import Connection
from mrcore.errors import ClusterUnreachableError
from mrcore.model.ids import TaskId
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.v1 import job_service_pb2, job_service_pb2_grpc

NOWHERE = Credentials(address="127.0.0.1:1", token="t")
QUESTIONS: dict[str, Callable[[MasterClient, CallClient], Any]] = {
    "a call of the job service": lambda jobs, calls: jobs.get("job"),
    "a page of a list": lambda jobs, calls: list(jobs.list()),
    "the watch of a job": lambda jobs, calls: list(jobs.watch("job")),
    "a call of the call service": lambda jobs, calls: calls.add("session", 0, []),
    "the watch of a session": lambda jobs, calls: list(
        calls.watch("session", calls.connection.pause())
    ),
    "a stream to the master": lambda jobs, calls: calls.put("0" * 64, b"data"),
    "a stream from the master": lambda jobs, calls: calls.read_value(TaskId("session", 0, 0)),
}


def test_a_call_on_a_closed_connection_is_an_error_of_ours() -> None:
    connection = Connection(NOWHERE)
    stub = job_service_pb2_grpc.JobServiceStub(connection.channel)
    connection.close()
    request = job_service_pb2.ListRequest()
    with pytest.raises(ClusterUnreachableError, match=r"127\.0\.0\.1:1 was closed"):
        connection.call(lambda: stub.List(request, timeout=1.0))


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS.keys())
def test_a_closed_connection_reaches_grpc_by_no_way(
    question: Callable[[MasterClient, CallClient], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MasterClient(NOWHERE)
    client.close()
    reached: list[object] = []
    monkeypatch.setattr(client.connection, "stub", reached.append)
    with pytest.raises(ClusterUnreachableError, match=r"127\.0\.0\.1:1 was closed"):
        question(client, CallClient(client.connection))
    assert not reached


def test_a_stream_whose_channel_closes_as_it_begins_is_an_error_of_ours() -> None:
    connection = Connection(NOWHERE)

    def attempt() -> Any:
        connection.close()
        raise ValueError("Cannot invoke RPC on closed channel!")

    with pytest.raises(ClusterUnreachableError, match=r"127\.0\.0\.1:1 was closed"):
        list(connection.stream(attempt, connection.pause(), "watch of job"))


def turning(ports: Iterator[int]) -> Connection:
    """Return a connection that finds a leader at another port at each look."""

    def find() -> Credentials:
        return Credentials(address=f"127.0.0.1:{next(ports)}", token="t")

    return Connection(NOWHERE, find=find)


def test_a_connection_that_turns_to_masters_again_and_again_has_a_channel_for_each() -> None:
    connection = turning(itertools.cycle((2, 3, 1)))
    first, channels = connection.channel, set()
    for _ in range(30):
        connection.look_again()
        channels.add(connection.channel)
    assert connection.credentials.address == NOWHERE.address
    assert connection.channel is first
    assert len(channels) == 3
    connection.close()


def test_a_connection_forgets_masters_that_are_long_gone() -> None:
    connection = turning(itertools.count(2))
    oldest = weakref.ref(connection.channel)
    for _ in range(99):
        connection.look_again()
    assert connection.credentials.address == "127.0.0.1:100"
    gc.collect()
    assert oldest() is None
    connection.close()
