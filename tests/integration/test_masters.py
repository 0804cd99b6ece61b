"""Several masters: one leads, and when it is killed, stopped or frozen another one goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

import mrcore
from mrcore.cli.main import cli
from mrcore.client.client import MasterClient
from mrcore.errors import ClusterUnreachableError
from mrcore.model.job import JobSpec, JobState
from mrcore.model.master import MasterRole
from mrcore.rpc.cluster import Credentials, credentials_of, load_credentials
from mrcore.rpc.credentials import read_leader, read_role_token, state_credentials
from mrcore.rpc.probe import LeaderProbe
from mrcore.rpc.roles import Role
from mrcore.storage.gcs.store import GcsStorage
from mrcore.storage.registry import register, storage_for
from tests.gcsserver.server import GcsServer
from tests.support.daemons import Daemon, start_master
from tests.support.fake_worker import FakeClient, FakeWorker, make_spec
from tests.support.master_site import BUNDLE, SHA256, MasterSite
from tests.support.waiting import wait_until

BUCKET_STATE = "gs://cluster/state"


def leader_of(state_uri: str, role: Role = Role.USER) -> Credentials:
    return state_credentials(state_uri, role)


def wait_for_leader(state_uri: str, daemon: Daemon) -> None:
    """Wait until a daemon leads, and answers."""
    probe = LeaderProbe(5.0, lambda: read_role_token(state_uri, Role.USER))

    def leads() -> bool:
        try:
            found = read_leader(state_uri)
        except ClusterUnreachableError:
            return False  # nobody has led yet
        return found.address == daemon.address and probe(credentials_of(found, state_uri))

    wait_until(leads)
    probe.close()


def knows(client: MasterClient, daemon: Daemon) -> bool:
    """Return whether replies have shown the address of a daemon."""
    client.masters()
    return daemon.address in client.connection._known.addresses


def append_and_square(path: str, number: int) -> int:
    """Leave a line for each run, and take a moment."""
    import time

    with Path(path).open("a", encoding="ascii") as file:
        file.write(f"{number}\n")
    time.sleep(0.05)
    return number * number


def test_a_local_cluster_goes_on_when_its_leader_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    runs = tmp_path / "runs"
    with mrcore.LocalCluster(workers=2, masters=2) as cluster:
        wait_until(lambda: len(cluster.monitor.masters()) == 2)
        calls = [cluster.call(append_and_square, str(runs), n) for n in range(60)]
        futures.wait(calls[:10])
        ended = [n for n, call in enumerate(calls) if call.done()]
        roles = {row["role"]: row for row in cluster.monitor.masters().dicts()}
        leader = int(roles["leader"]["pid"])
        state_uri = f"file://{cluster.state}"
        before = read_leader(state_uri).epoch
        os.kill(leader, signal.SIGKILL)
        assert [call.result(60) for call in calls] == [n * n for n in range(60)]
        assert read_leader(state_uri).epoch > before
        ran = [int(line) for line in runs.read_text().split()]
        assert all(ran.count(number) == 1 for number in ended), "an accepted call ran again"
        # The killed one was started again, and stands by.
        cluster.scale(masters=3)
        assert cluster.slots() == 2  # masters are not workers
        wait_until(lambda: len(cluster.monitor.masters()) == 3)
        listed = CliRunner().invoke(cli, ["masters", "--state", cluster.state, "--json"])
        found = [one["role"] for one in json.loads(listed.output)]
        assert found == ["leader", "standby", "standby"]
        cluster.scale(masters=1)
        wait_until(lambda: len(cluster.monitor.masters()) == 1)
        ids = cluster.process_ids()
        assert cluster.call(pow, 2, 3).result(60) == 8
    for process_id in ids:
        with pytest.raises(ProcessLookupError):
            os.kill(process_id, 0)


def test_a_frozen_leader_is_replaced_and_leaves_when_it_wakes(tmp_path: Path) -> None:
    site = MasterSite(tmp_path)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(site.master("--mutual-tls"))
        second = stack.enter_context(site.master("--mutual-tls", "--standby"))
        # This client cannot read the state: it has an address, and what replies show it.
        alone = msgspec.structs.replace(site.credentials(), state_uri="")
        client = stack.enter_context(MasterClient(alone))
        worker = stack.enter_context(FakeWorker(site.credentials(Role.WORKER)))
        job_id = client.submit(site.spec(map_only=True), BUNDLE).job_id
        worker.join()
        one, other = sorted(worker.work)
        worker.finish(one)
        worker.synchronize()
        worker.finish(other)
        file = tmp_path / "alice.json"
        words = ["token", "create", str(file), "--name", "alice", "--state", site.state_uri]
        assert CliRunner().invoke(cli, words).exit_code == 0
        assert load_credentials(file).masters == (first.address, second.address)
        wait_until(lambda: knows(client, second))
        first.process.send_signal(signal.SIGSTOP)
        wait_for_leader(site.state_uri, second)
        worker.reconnect(site.credentials(Role.WORKER))
        worker.work_off()
        client.get(job_id)  # a call has a deadline, and a watch notices later
        done = list(client.watch(job_id))[-1]
        assert client.credentials.address == second.address
        assert done.state is JobState.SUCCEEDED, done.message
        assert (dict(done.counters), done.attempts.won) == ({"seen": 4}, 2)
        first.process.send_signal(signal.SIGCONT)
        assert first.wait() == 4
        # A program that starts now has a file with the address of who led when it was made.
        with MasterClient(credentials=file) as later:
            assert later.credentials.address == second.address
            assert later.get(job_id).state is JobState.SUCCEEDED
        # It comes back as a standby, and takes over at once when the leader stops in order.
        third = stack.enter_context(site.master("--mutual-tls", "--standby"))
        wait_until(lambda: knows(client, third))
        assert second.stop() == 0
        wait_for_leader(site.state_uri, third)
        assert client.get(job_id).state is JobState.SUCCEEDED
        assert [view.role for view in client.masters()] == [MasterRole.LEADER]
        assert third.stop() == 0
    assert not list((tmp_path / "state/masters").iterdir())


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    with GcsServer() as server:
        server.store.create_bucket("cluster")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        register("gs", GcsStorage)  # in place of one that knows another server
        for name in ("a", "b"):
            with storage_for(BUCKET_STATE).open_write(f"gs://cluster/in/{name}") as writer:
                writer.write(b"line\n")
                writer.commit()
        yield server
        register("gs", GcsStorage)


def spec() -> JobSpec:
    return make_spec("gs://cluster/in/", "gs://cluster/out", SHA256)


@pytest.mark.usefixtures("bucket")
def test_a_killed_leader_is_replaced_on_a_bucket(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(start_master(tmp_path, BUCKET_STATE, "--standby"))
        wait_for_leader(BUCKET_STATE, first)  # nobody led
        second = stack.enter_context(start_master(tmp_path, BUCKET_STATE, "--standby"))
        worker = stack.enter_context(FakeWorker(leader_of(BUCKET_STATE, Role.WORKER)))
        with FakeClient(leader_of(BUCKET_STATE)) as client:
            job_id = client.submit(spec(), BUNDLE).job_id
        worker.join()
        one, other = sorted(worker.work)
        worker.finish(one)
        worker.synchronize()
        worker.finish(other)
        first.kill()
        wait_for_leader(BUCKET_STATE, second)
        worker.reconnect(leader_of(BUCKET_STATE, Role.WORKER))
        with FakeClient(leader_of(BUCKET_STATE)) as client:
            worker.work_off()
            done = client.wait(job_id)
    assert (done.state, done.attempts.won) == (3, 3), done.message
    assert storage_for(BUCKET_STATE).read("gs://cluster/out/part-00000")
