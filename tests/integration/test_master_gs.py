"""A master whose state lies in a bucket: no lock there, only conditional creates."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from mrcore.errors import AlreadyExistsError
from mrcore.model import object_names
from mrcore.model.job import JobSpec
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.credentials import read_leader, state_credentials
from mrcore.rpc.roles import Role
from mrcore.rpc.v1 import job_pb2
from mrcore.storage.gcs.store import GcsStorage
from mrcore.storage.registry import register, storage_for
from tests.gcsserver.faults import Fault
from tests.gcsserver.server import GcsServer
from tests.support.daemons import start_master
from tests.support.fake_worker import FakeClient, FakeWorker, make_spec
from tests.support.master_site import BUNDLE, SHA256, free_port

STATE = "gs://cluster/state"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    with GcsServer() as server:
        server.store.create_bucket("cluster")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        register("gs", GcsStorage)  # in place of one that knows another server
        for name in ("a", "b"):
            with storage_for(STATE).open_write(f"gs://cluster/in/{name}") as writer:
                writer.write(b"line\n")
                writer.commit()
        yield server
        register("gs", GcsStorage)


def spec() -> JobSpec:
    return make_spec("gs://cluster/in/", "gs://cluster/out", SHA256)


def credentials(role: Role = Role.USER) -> Credentials:
    return state_credentials(STATE, role)


def read(uri: str) -> bytes:
    return storage_for(uri).read(uri)


def test_a_job_outlives_its_master_and_lost_replies(tmp_path: Path, bucket: GcsServer) -> None:
    # Some creates happen and the answer is lost, some do not happen at all.
    faults = [
        Fault("lost", "objects.insert", count=8, probability=0.5),
        Fault("error", "objects.insert", count=4, probability=0.3),
    ]
    bucket.faults.add(*faults)
    listen = f"127.0.0.1:{free_port()}"
    with (
        start_master(tmp_path, STATE, listen=listen) as first,
        FakeWorker(credentials(Role.WORKER)) as worker,
    ):
        with FakeClient(credentials()) as client:
            job_id = client.submit(spec(), BUNDLE).job_id
        worker.join()
        one, other = sorted(worker.work)
        worker.finish(one)
        worker.synchronize()
        worker.finish(other)
        first.kill()
        with start_master(tmp_path, STATE, listen=listen), FakeClient(credentials()) as client:
            worker.reconnect()
            worker.work_off()
            done = client.wait(job_id)
    assert done.state == job_pb2.JOB_STATE_SUCCEEDED, done.message
    assert done.attempts.won == 3
    assert read("gs://cluster/out/part-00000") == f"{job_id}/stage1-00000\n".encode()
    assert all(fault.hits for fault in faults)
    numbers = [
        info.uri[-20:] for info in storage_for(STATE).list(object_names.journal_prefix(STATE))
    ]
    assert numbers == [f"{number:020d}" for number in range(1, len(numbers) + 1)]


def test_a_master_killed_in_a_commit_is_finished_by_the_next(
    tmp_path: Path, bucket: GcsServer
) -> None:
    listen = f"127.0.0.1:{free_port()}"
    # The parts arrive, and the receipt does not: the commit stops half-way.
    stuck = Fault("error", "objects.rewrite", "*_SUCCESS*")
    bucket.faults.add(stuck)
    with (
        start_master(tmp_path, STATE, listen=listen) as first,
        FakeWorker(credentials(Role.WORKER)) as worker,
    ):
        with FakeClient(credentials()) as client:
            job_id = client.submit(spec(), BUNDLE).job_id
            worker.join()
            worker.work_off()
            while not stuck.hits:
                time.sleep(0.01)
            assert client.get(job_id).state == job_pb2.JOB_STATE_COMMITTING
        first.kill()
        bucket.faults.clear()
        with start_master(tmp_path, STATE, listen=listen), FakeClient(credentials()) as client:
            done = client.wait(job_id)
    assert done.state == job_pb2.JOB_STATE_SUCCEEDED, done.message
    names = [info.uri for info in storage_for(STATE).list("gs://cluster/out/part-")]
    assert names == ["gs://cluster/out/part-00000"]
    assert job_id.encode() in read("gs://cluster/out/_SUCCESS")


def test_a_master_that_slept_finds_itself_replaced(tmp_path: Path, bucket: GcsServer) -> None:
    with start_master(tmp_path, STATE) as first, FakeWorker(credentials(Role.WORKER)) as stale:
        stale.join()
        first.process.send_signal(signal.SIGSTOP)
        with start_master(tmp_path, STATE) as second:
            first.process.send_signal(signal.SIGCONT)
            stale.epoch = read_leader(STATE).epoch
            with pytest.raises(grpc.RpcError):  # it looks in the journal, and leaves
                stale.synchronize()
            assert first.wait() == 4
            assert read_leader(STATE).address == second.address
            with FakeClient(credentials()) as client:
                assert client.submit(spec(), BUNDLE).state == job_pb2.JOB_STATE_RUNNING


def test_a_second_master_is_refused_while_the_first_answers(
    tmp_path: Path, bucket: GcsServer
) -> None:
    with start_master(tmp_path, STATE) as first:
        with start_master(tmp_path, STATE, wait=False) as second:
            assert second.wait() == 2
            assert "already leads gs://cluster/state" in second.log()
        assert first.stop() == 0
    # The journal has one start, and nobody else wrote there.
    assert len(list(storage_for(STATE).list(object_names.journal_prefix(STATE)))) == 1
    with (
        pytest.raises(AlreadyExistsError),
        storage_for(STATE).open_write(object_names.journal_uri(STATE, 1), expect="0") as writer,
    ):
        writer.commit()


def test_a_master_ends_when_told_though_its_store_is_away(
    tmp_path: Path, bucket: GcsServer
) -> None:
    outage = Fault("error")
    with start_master(tmp_path, STATE) as daemon:
        bucket.faults.add(outage)
        assert daemon.stop() == 0
        assert "the leader object still names this master" in daemon.log()
    hits = outage.hits
    with start_master(tmp_path, STATE, wait=False) as daemon:
        while outage.hits == hits:
            time.sleep(0.01)
        assert daemon.stop() == 0
        assert "has ended in an orderly way" in daemon.log()
    bucket.faults.clear()
    with start_master(tmp_path, STATE) as daemon:
        assert read_leader(STATE).address == daemon.address
