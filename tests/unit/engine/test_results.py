"""The reader of a job's results, while the job runs and when it has ended."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from mrcore.client.client import MasterClient
from mrcore.client.request import Prepared
from mrcore.engine.local_run import submit_and_follow
from mrcore.engine.results import ResultReader
from mrcore.errors import NotFoundError, UsageError
from mrcore.model.job import JobSpec, JobState
from mrcore.model.snapshots import JobView, StageView
from mrcore.plugin.bundle import Bundle


class Master:
    """A master with a job of five tasks, some of which have left results."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.connection = self
        self.results: dict[int, bytes] = {}
        self.asked: list[int] = []
        self.released: list[str] = []
        self.cancelled: list[tuple[str, str]] = []
        self.views: list[JobView] = []
        monkeypatch.setattr("mrcore.client.calls.CallClient", lambda connection: connection)

    @property
    def client(self) -> MasterClient:
        return cast("MasterClient", self)

    def read_result(self, job_id: str, index: int) -> bytes:
        self.asked.append(index)
        if index not in self.results:
            raise NotFoundError("none")
        return self.results[index]

    def release_results(self, job_id: str) -> None:
        self.released.append(job_id)

    def submit(self, *_: Any) -> JobView:
        return job(0)

    def watch(self, job_id: str) -> Any:
        yield from self.views

    def cancel(self, job_id: str, reason: str) -> None:
        self.cancelled.append((job_id, reason))


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Master:
    return Master(monkeypatch)


def job(completed: int, state: JobState = JobState.RUNNING) -> JobView:
    stage = StageView(name="map", tasks=5, completed=completed)
    return JobView(job_id="j", name="j", state=state, output_uri="", stages=(stage,))


def test_results_are_read_in_order_until_there_are_enough(master: Master) -> None:
    found: list[bytes] = []

    def take(data: bytes) -> bool:
        found.append(data)
        return len(found) == 3

    reader = ResultReader(take, may_stop=True)
    assert not reader.look(master.client, job(0))
    assert master.asked == [], "there can be nothing yet"
    master.results = {1: b"b", 2: b"c"}
    assert not reader.look(master.client, job(2))
    assert found == [], "a later task was faster"
    master.results[0] = b"a"
    assert reader.look(master.client, job(3))
    assert found == [b"a", b"b", b"c"]
    master.asked.clear()
    assert reader.look(master.client, job(5, JobState.SUCCEEDED))
    assert master.asked == []


def test_who_wants_all_reads_when_the_job_has_succeeded(master: Master) -> None:
    found: list[bytes] = []
    reader = ResultReader(found.append)
    master.results = {index: b"%d" % index for index in range(4)}
    reader.look(master.client, job(4))
    assert (found, master.asked) == ([], [])
    with pytest.raises(NotFoundError):
        reader.look(master.client, job(5, JobState.SUCCEEDED))
    master.results[4] = b"4"
    reader.look(master.client, job(5, JobState.SUCCEEDED))
    assert found == [b"0", b"1", b"2", b"3", b"4"]
    assert not reader.has_enough


def test_results_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrcore.engine.results.MAX_RESULTS_BYTES", 5)
    reader = ResultReader(lambda data: None)
    reader.take(b"123")
    with pytest.raises(UsageError, match="larger than"):
        reader.take(b"456")


def run(master: Master, reader: ResultReader) -> JobView:
    prepared = Prepared(cast("JobSpec", None), Bundle(b"", "0" * 64, "x"))
    return submit_and_follow(master.client, prepared, None, reader=reader)


def test_a_job_is_cancelled_once_its_client_has_enough(master: Master) -> None:
    master.results = {0: b"a"}
    master.views = [job(1), job(2), job(5, JobState.SUCCEEDED)]
    reader = ResultReader(lambda data: SimpleNamespace(), may_stop=True)
    assert run(master, reader) == master.views[0]
    assert master.cancelled == [("j", "Its client has what it asked for.")]
    assert master.released == ["j"]


def test_results_are_freed_when_they_have_been_read(master: Master) -> None:
    master.results = dict.fromkeys(range(5), b"x")
    master.views = [job(5, JobState.SUCCEEDED)]
    read: list[bytes] = []
    assert run(master, ResultReader(read.append)).state is JobState.SUCCEEDED
    assert len(read) == 5
    assert (master.released, master.cancelled) == (["j"], [])
