"""Masters come and go: who may call one, who may be one, and what survives it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import stat
import time
from pathlib import Path

import grpc
import msgspec
import pytest
from grpc_health.v1 import health_pb2

from mrcore import errors
from mrcore.client.client import MasterClient
from mrcore.engine.api import finder
from mrcore.errors import ClusterUnreachableError, UsageError
from mrcore.master.daemon import run as run_master
from mrcore.master.options import Options
from mrcore.master.shell.entries import Entry
from mrcore.model import object_names
from mrcore.model.job import JobState
from mrcore.rpc.channel import connect
from mrcore.rpc.cluster import load_credentials, loopback_file, save_credentials
from mrcore.rpc.credentials import find_credentials, read_leader
from mrcore.rpc.roles import Role
from mrcore.rpc.server import RpcServer
from mrcore.rpc.v1 import job_pb2, job_service_pb2
from tests.support.daemons import start_daemon, start_master
from tests.support.fake_worker import FakeClient, FakeWorker, make_spec
from tests.support.master_site import BUNDLE, SHA256, MasterSite, free_port, refused
from tests.support.waiting import wait_until


@pytest.fixture
def house(tmp_path: Path) -> MasterSite:
    return MasterSite(tmp_path)


def test_a_killed_master_goes_on_where_it_was(house: MasterSite) -> None:
    listen = f"127.0.0.1:{free_port()}"
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(house.master(listen=listen))
        credentials = house.credentials()
        worker = stack.enter_context(FakeWorker(house.credentials(Role.WORKER)))
        with FakeClient(credentials) as client:
            job_id = client.submit(house.spec(map_only=True), BUNDLE).job_id
            worker.join()
            one, other = sorted(worker.work)
            worker.finish(one)
            worker.synchronize()
            assert set(worker.work) == {other}
            worker.finish(other)
        first.kill()
        stack.enter_context(house.master(listen=listen))
        again = house.credentials()
        assert again.token == credentials.token
        assert again.cluster_id == credentials.cluster_id
        assert read_leader(house.state_uri).epoch > worker.epoch
        with FakeClient(credentials) as client:
            assert client.submit(house.spec(map_only=True), BUNDLE).job_id == job_id
            worker.reconnect()  # the same process, which still holds what it finished
            worker.work_off()
            done = client.wait(job_id)
    assert done.state == job_pb2.JOB_STATE_SUCCEEDED, done.message
    assert dict(done.counters) == {"seen": 4}
    # Each map was accepted from its first attempt: nothing ran twice.
    assert done.attempts.won == 2
    assert json.loads((house.out / "_SUCCESS").read_text())["job_id"] == job_id


def test_who_follows_a_job_finds_the_next_master_elsewhere(house: MasterSite) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(house.master())
        find = finder(None, house.state_uri)
        client = stack.enter_context(MasterClient(house.credentials(), find=find))
        lost = stack.enter_context(MasterClient(house.credentials(), retry_seconds=0.0))
        job_id = client.submit(house.spec(map_only=True), BUNDLE).job_id
        watch, lost_watch = client.watch(job_id), lost.watch(job_id)
        assert next(watch).job_id == next(lost_watch).job_id == job_id
        address = client.credentials.address
        first.kill()
        stack.enter_context(house.master())
        assert house.credentials().address != address
        worker = stack.enter_context(FakeWorker(house.credentials(Role.WORKER)))
        worker.join()

        def is_done() -> bool:
            worker.work_off()
            return client.get(job_id).state.final

        wait_until(is_done)
        assert [job.state for job in watch][-1] is JobState.SUCCEEDED
        assert [job.job_id for job in client.list()] == [job_id]
        with pytest.raises(ClusterUnreachableError):  # it does not know where to look
            list(lost_watch)


def test_a_master_killed_in_a_commit_is_finished_by_the_next(house: MasterSite) -> None:
    listen = f"127.0.0.1:{free_port()}"
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(house.master(listen=listen))
        credentials = house.credentials()
        worker = stack.enter_context(FakeWorker(house.credentials(Role.WORKER)))
        client = stack.enter_context(FakeClient(credentials))
        job_id = client.submit(house.spec(map_only=True), BUNDLE).job_id
        worker.join()
        # Whoever holds the folder's lock keeps parts from being published there.
        folder = os.open(house.out, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        worker.work_off()
        while client.get(job_id).state != job_pb2.JOB_STATE_COMMITTING:
            time.sleep(0.01)
        with refused(errors.JobEndedError, "is being committed"):
            client.stub.Cancel(job_service_pb2.CancelRequest(job_id=job_id))
        first.kill()
        os.close(folder)
        assert not (house.out / "_SUCCESS").exists()
        stack.enter_context(house.master(listen=listen))
        with FakeClient(credentials) as again:
            done = again.wait(job_id)
    assert done.state == job_pb2.JOB_STATE_SUCCEEDED, done.message
    receipt = json.loads((house.out / "_SUCCESS").read_text())
    assert [part["name"] for part in receipt["parts"]] == ["part-00000", "part-00001"]
    assert sorted(path.name for path in house.out.glob("part-*")) == ["part-00000", "part-00001"]


def test_a_worker_that_saw_a_later_master_is_believed_only_with_the_journal(
    house: MasterSite,
) -> None:
    with house.master() as daemon, FakeWorker(house.credentials(Role.WORKER)) as worker:
        worker.join()
        worker.epoch = 99
        with refused(errors.UnavailableError, "never had the epoch 99"):
            worker.synchronize()
        worker.epoch = 1
        worker.synchronize()
        assert daemon.process.poll() is None


def test_a_master_that_was_replaced_steps_down(house: MasterSite) -> None:
    with house.master() as first:
        credentials = house.credentials()
        with house.master("--take-over") as second:
            assert read_leader(house.state_uri).address == second.address
            with FakeClient(credentials) as client, refused(ClusterUnreachableError, "the master"):
                client.submit(house.spec(), BUNDLE)
            assert first.wait() == 4
            assert "has written entry 2" in first.log()
            with FakeClient(house.credentials()) as client:
                job = client.submit(house.spec(), BUNDLE)
            assert job.state == job_pb2.JOB_STATE_RUNNING


def test_a_second_master_is_refused(house: MasterSite) -> None:
    with house.master() as first, house.master(wait=False) as second:
        assert second.wait() == 2
        assert f"A master already leads {house.state_uri}, at {first.address}" in second.log()
        assert first.process.poll() is None


def test_a_stopped_master_on_the_same_machine_is_refused_by_its_lock(house: MasterSite) -> None:
    with house.master() as first:
        first.process.send_signal(signal.SIGSTOP)
        with house.master(wait=False) as second:
            assert second.wait() == 2
            assert "Another master on this machine holds" in second.log()
        first.process.send_signal(signal.SIGCONT)
        with FakeClient(house.credentials()) as client:
            assert client.submit(house.spec(), BUNDLE).job_id


def test_the_token_is_asked_of_everybody(house: MasterSite) -> None:
    with house.master():
        wrong = msgspec.structs.replace(house.credentials(), token="guess")
        with FakeClient(wrong) as client, refused(UsageError, "does not accept this token"):
            client.submit(house.spec(), BUNDLE)
        with FakeWorker(wrong) as worker, refused(UsageError, "does not accept this token"):
            worker.join()


def test_health_is_open_to_everybody(house: MasterSite) -> None:
    with house.master() as daemon, grpc.insecure_channel(daemon.address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        for service in ("", "mrcore.rpc.v1.JobService", "mrcore.rpc.v1.WorkerService"):
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_watch_of_no_job_is_told(house: MasterSite) -> None:
    with house.master(), FakeClient(house.credentials()) as client:
        with refused(errors.UnknownJobError, "no-such-job"):
            list(client.stub.Watch(job_service_pb2.WatchRequest(job_id="no-such-job")))
        with refused(UsageError, "not a job id"):
            client.get("../../etc")


def test_tls_is_pinned(house: MasterSite) -> None:
    with house.master("--tls"):
        credentials = house.credentials()
        assert len(credentials.fingerprint) == 64
        by_pin = msgspec.structs.replace(credentials, certificate="")
        for good in (credentials, by_pin):
            with FakeClient(good) as client:
                assert client.submit(house.spec(), BUNDLE).job_id
        other = msgspec.structs.replace(by_pin, fingerprint=hashlib.sha256(b"x").hexdigest())
        with pytest.raises(UsageError, match="this is not the master that was meant"):
            connect(other)
        plain = msgspec.structs.replace(credentials, certificate="", fingerprint="")
        with FakeClient(plain) as client, refused(ClusterUnreachableError, "does not answer"):
            client.submit(house.spec(), BUNDLE)
        former = credentials.fingerprint
    with house.master("--tls"):
        assert house.credentials().fingerprint == former


def test_a_master_beyond_loopback_wants_tls(house: MasterSite) -> None:
    with house.master(listen="0.0.0.0:0", wait=False) as refused_one:
        assert refused_one.wait() == 2
        assert "Add --tls" in refused_one.log()
    assert not Path(house.state_uri.removeprefix("file://")).exists()
    with house.master("--insecure", "--advertise", "127.0.0.1", listen="0.0.0.0:0") as open_one:
        assert open_one.address.startswith("127.0.0.1:")
        with FakeClient(house.credentials()) as client:
            assert client.submit(house.spec(), BUNDLE).job_id


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "nowhere"], "nowhere"),
        (["--listen", "127.0.0.1:99999"], "is not an address"),
        (["--listen", "127.0.0.1:0"], "needs --state"),
        (["--state", "ftp://x/y"], "scheme"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_bad_usage_is_told_in_a_sentence(
    house: MasterSite, arguments: list[str], words: str
) -> None:
    with start_daemon("master", arguments, house.folder, wait=False) as daemon:
        assert daemon.wait() == 2
        assert words in daemon.log()
        assert "Traceback" not in daemon.log()


@pytest.mark.parametrize("flags", [(), ("--tls",)])
def test_credentials_are_found_on_loopback(
    house: MasterSite, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(house.folder / "state-home"))
    with house.master(*flags) as daemon:
        port = int(daemon.address.rpartition(":")[2])
        path = loopback_file(port)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for found in (
            find_credentials(daemon.address),
            find_credentials(f"localhost:{port}"),
            find_credentials(None, house.state_uri),
            find_credentials(None, None, str(path)),
        ):
            with FakeClient(found) as client:
                assert client.stub.List(job_service_pb2.ListRequest()).next_page_token == ""
        assert load_credentials(path).state_uri == house.state_uri
        path.unlink()
        with pytest.raises(UsageError, match="is not one of yours, or has not left"):
            find_credentials(daemon.address)
        assert daemon.stop() == 0
    with pytest.raises(ClusterUnreachableError, match="No master answers"):
        find_credentials(daemon.address, reach_seconds=0.2)


def test_the_credentials_lie_there_before_the_port_answers(
    house: MasterSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(house.folder / "state-home"))
    port = free_port()
    found = []
    start = RpcServer.start

    async def look_and_start(server: RpcServer, services: tuple[str, ...]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)  # this master has only to come up
        found.append(loopback_file(port).exists())
        await start(server, services)

    monkeypatch.setattr(RpcServer, "start", look_and_start)
    asyncio.run(run_master(Options(host="127.0.0.1", port=port, state_uri=house.state_uri)))
    assert found == [True]


def test_a_master_that_ends_leaves_the_credentials_of_the_next_one(
    house: MasterSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(house.folder / "state-home"))
    with house.master() as daemon:
        path = loopback_file(int(daemon.address.rpartition(":")[2]))
        following = msgspec.structs.replace(load_credentials(path), token="next")
        save_credentials(following, path)
        assert daemon.stop() == 0
    assert load_credentials(path) == following


def test_a_state_that_nobody_led_is_told(house: MasterSite) -> None:
    with pytest.raises(ClusterUnreachableError, match="No master has led"):
        find_credentials(None, house.state_uri, reach_seconds=0.2)


def test_a_master_ends_in_order(house: MasterSite) -> None:
    with house.master() as daemon:
        assert read_leader(house.state_uri).serving
        credentials = house.credentials()
        with FakeClient(credentials) as client:
            job_id = client.submit(house.spec(), BUNDLE).job_id
            watch = client.stub.Watch(job_service_pb2.WatchRequest(job_id=job_id), timeout=20)
            assert next(iter(watch)).job.job_id == job_id
            assert daemon.stop() == 0
            # The watch ended; it was not cut.
            assert [answer.job.state for answer in watch] == []
        assert not read_leader(house.state_uri).serving
        assert "has ended in an orderly way" in daemon.log()


def test_a_journal_with_a_gap_stops_the_master(house: MasterSite) -> None:
    for _ in range(3):
        with house.master() as daemon:
            daemon.stop()
    folder = Path(object_names.journal_uri(house.state_uri, 1).removeprefix("file://")).parent
    names = sorted(path.name for path in folder.iterdir())
    entries = [msgspec.json.decode((folder / name).read_bytes(), type=Entry) for name in names]
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert [entry.epoch for entry in entries] == [1, 2, 3]
    shutil.move(folder / names[1], house.folder / "aside")
    with house.master(wait=False) as daemon:
        assert daemon.wait() == 1
        assert "Entry 2 of the journal is missing" in daemon.log()
        assert "Traceback" not in daemon.log()


def test_a_master_whose_starter_died_leaves_at_once(house: MasterSite) -> None:
    reader, writer = os.pipe()
    try:
        with start_master(
            house.folder, house.state_uri, "--lifeline-fd", str(reader), pass_fds=(reader,)
        ) as daemon:
            assert daemon.process.poll() is None
            os.close(writer)
            assert daemon.wait(5.0) == 0
    finally:
        os.close(reader)
    assert not list((house.folder / "state-home").rglob("*.json"))


def test_expected_slots_count_before_workers_join(house: MasterSite) -> None:
    (house.folder / "in" / "a").write_text("line\n" * 2_000_000)
    for slots, maps in ((1, 4), (8, 10)):
        with house.master("--expect-slots", str(slots)), FakeClient(house.credentials()) as client:
            out = f"file://{house.folder}/out{slots}"
            spec = make_spec(f"file://{house.folder}/in/a", out, SHA256)
            job = client.submit(spec, BUNDLE, f"r{slots}")
            assert job.stages[0].tasks == maps
