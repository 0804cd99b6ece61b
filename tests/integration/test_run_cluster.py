"""The commands against a cluster that is up: `mrcore master`, `mrcore worker` and the rest."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support.run_support import WORD_COUNT, Place
from tests.support.slow_jobs import FAILING, LOUD, SLOW
from tests.support.waiting import wait_until

pytestmark = pytest.mark.xdist_group("run cluster")  # one cluster for all


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Cluster:
    """A master and a worker, started by the command line."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.address = f"127.0.0.1:{free_port()}"
        self.daemons: list[subprocess.Popen[bytes]] = []
        place.environment["MRCORE_MASTER"] = self.address

    def start_master(self) -> subprocess.Popen[bytes]:
        """Start the master, or start it again on the same state."""
        return self._start("master", "--listen", self.address, "--state", "cluster")

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker."""
        return self._start("worker", "--master", self.address, "--slots", "2")

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        process = self.place.start_daemon(*arguments)
        self.daemons.append(process)
        return process

    def workers(self) -> list[dict[str, Any]]:
        """Return the workers that the master knows; none while it does not answer."""
        found: list[dict[str, Any]] = json.loads(self.place.run("workers", "--json").stdout or "[]")
        return found

    def stop(self) -> None:
        """Stop everything in order: the newest first."""
        for process in reversed(self.daemons):
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start a cluster with one worker, for all tests: each costs seconds."""
    found = Cluster(Place(tmp_path_factory.mktemp("cluster")))
    try:
        found.start_master()
        found.start_worker()
        wait_until(found.workers)
        yield found
    finally:
        found.stop()
    assert found.place.processes() == {}


def test_run_submit_watch_and_the_tables(cluster: Cluster) -> None:
    place = cluster.place
    place.write("wc.py", WORD_COUNT)
    place.write("in.txt", "a b\nb\n")
    result = place.done("run", "wc.py", "in.txt", "-o", "out", "-r", "1", "-w", "2")
    assert "they are ignored on a cluster" in result.stderr
    assert place.lines() == ["a\t1", "b\t2"]
    job_id = place.done("submit", "wc.py", "in.txt", "-o", "two", "-r", "2").stdout.strip()
    watched = place.done("watch", job_id)
    assert "done in" in watched.stderr
    assert sorted(place.lines("two")) == ["a\t1", "b\t2"]
    listed = json.loads(place.done("jobs", "--json", "-n", "2").stdout)
    assert [job["state"] for job in listed] == ["succeeded", "succeeded"]
    assert listed[0]["job_id"] == job_id
    shown = place.json("show", job_id, "--tasks")
    assert [task["state"] for task in shown["task_list"]] == ["completed"] * 3
    assert "nothing was printed by the tasks of" in place.done("logs", job_id).stderr
    silent = place.run("logs", job_id, "--task", "map-00000", "--attempt", "1.1")
    assert (silent.returncode, silent.stdout) == (2, "")
    refused = place.run("submit", "wc.py", "in.txt", "-o", "two")
    assert refused.returncode == 2
    assert "is not empty" in refused.stderr
    missing = place.run("submit", "wc.py", "none.txt", "-o", "three")
    assert missing.returncode == 2
    assert "none.txt does not exist" in missing.stderr
    assert not (place.work / "three").exists()
    unknown = place.run("show", "no-such-job")
    assert unknown.returncode == 2
    assert "no-such-job" in unknown.stderr


HOT: Final = """
import mrcore, pyarrow as pa

def map(key, batch):
    keys = ["hot"] * 1_200_000 + [f"cold {number}" for number in range(1_000)]
    return pa.table({"key": keys, "value": pa.array([1] * len(keys))})

reduce = mrcore.sum
"""


def test_a_heavy_key_is_named_by_run_and_by_show(cluster: Cluster) -> None:
    place = cluster.place
    place.write("in.txt", "a\n")
    place.write("hot.py", HOT)
    ran = place.done("run", "hot.py", "in.txt", "-o", "hot", "-r", "2", "--input-format", "arrow")
    assert "of 1,201,000 pairs under one key, 'hot'." in ran.stderr
    job_id = json.loads(place.done("jobs", "--json", "-n", "1").stdout)[0]["job_id"]
    (sentence,) = place.json("show", job_id)["skew"]
    assert sentence in ran.stderr
    assert sentence in place.done("show", job_id).stdout
    assert "hot\t1200000" in place.lines("hot")


def test_the_output_of_a_running_task_is_followed_to_its_end(cluster: Cluster) -> None:
    place = cluster.place
    place.write("in.txt", "a\n")
    place.write("loud.py", LOUD)
    for name in ("said", "go"):
        (place.work / name).unlink(missing_ok=True)
    job_id = place.done("submit", "loud.py", "in.txt", "-o", "loud").stdout.strip()
    following = place.start("logs", job_id, "--task", "map-00000", "--follow")
    assert following.stdout is not None
    seen = ["".join(following.stdout.readline() for _ in range(2))]
    assert seen[0].startswith("==> map-00000@")
    assert seen[0].endswith(" <==\nbefore\n")
    (place.work / "go").touch()
    rest, _ = following.communicate(timeout=60)
    assert (following.returncode, rest) == (0, "after\n")
    again = place.done("logs", job_id, "-f")
    assert again.stdout.endswith("before\nafter\n")
    refused = place.run("logs", job_id, "-f", "--json")
    assert refused.returncode == 2
    assert "Leave one out" in refused.stderr


def test_a_task_is_replayed_while_its_job_runs_and_from_the_store(cluster: Cluster) -> None:
    place = cluster.place
    place.write("in.txt", "a\n")
    place.write("slow.py", SLOW)
    for name in ("started", "go"):
        (place.work / name).unlink(missing_ok=True)
    job_id = place.done("submit", "slow.py", "in.txt", "-o", "replayed", "-r", "1").stdout.strip()
    wait_until((place.work / "started").exists)
    early = place.run("replay", job_id, "reduce-00000")
    assert "reads runs of tasks that have not all got a result yet" in early.stderr
    place.write("fast.py", "def map(key, value):\n    yield value, 1\n\nreduce = lambda k, v: 1\n")
    running = place.run("replay", job_id, "map-00000", "--plugin", "fast.py")
    assert "map-00000 succeeds here: 1 record read, 1 emitted" in running.stderr
    place.done("cancel", job_id)
    (place.work / "go").touch()
    for named in (["--state", "cluster"], []):  # the store alone, and with the master's help
        ended = place.run("replay", job_id, "map-00000", *named)
        assert (ended.returncode, ended.stdout) == (0, "")
        assert "map-00000 succeeds here: 1 record read, 1 emitted" in ended.stderr
    (place.work / "in.txt").unlink()
    gone = place.run("replay", job_id, "map-00000")
    assert gone.returncode == 1
    assert "in.txt" in gone.stderr
    place.write("in.txt", "a\n")


def test_a_failed_job_goes_on_with_mended_code(cluster: Cluster) -> None:
    place = cluster.place
    place.write("in.txt", "a\nb\nbad\n")
    place.write("failing.py", FAILING)
    place.write("mended.py", FAILING.replace("1 / 0", "-1"))
    failed = place.run("run", "failing.py", "in.txt", "-o", "resumed", "-r", "2", "--json")
    assert failed.returncode == 1
    former = json.loads(failed.stdout)["job_id"]
    assert f"mrcore resume {former} --plugin FILE --master {cluster.address}" in failed.stderr
    once = (place.work / "mapped").read_text()
    again = place.run("resume", former, "--json")  # the same code fails alike
    assert again.returncode == 1
    assert "1 of 1 map task is kept." in again.stderr
    newer = json.loads(again.stdout)["job_id"]
    keep = ("--plugin", "mended.py", "--keep-results", "all")
    found = json.loads(place.done("resume", newer, *keep, "--max-attempts", "1", "--json").stdout)
    assert found["state"] == "succeeded"
    assert found["tasks"]["map"]["completed"] == 1
    assert sorted(place.lines("resumed")) == ["a\t1", "b\t1", "bad\t-1"]
    assert (place.work / "mapped").read_text() == once
    wait_until(lambda: not (place.work / "resumed/_tmp").exists())
    place.done("verify", "resumed")
    for job_id, said in ((found["job_id"], "has succeeded"), ("no-such-job", "No job")):
        refused = place.run("resume", job_id)
        assert refused.returncode == 2
        assert said in refused.stderr


def test_watch_lets_the_job_be_and_cancel_ends_it(cluster: Cluster) -> None:
    place = cluster.place
    place.write("in.txt", "a\n")
    place.write("slow.py", SLOW)
    for name in ("started", "go"):
        (place.work / name).unlink(missing_ok=True)
    job_id = place.done("submit", "slow.py", "in.txt", "-o", "watched").stdout.strip()
    wait_until((place.work / "started").exists)
    watch = place.start("watch", job_id)
    assert watch.stderr is not None
    assert job_id in watch.stderr.readline()
    watch.send_signal(signal.SIGINT)
    watch.communicate(timeout=50)
    assert watch.returncode == 130
    assert place.json("show", job_id)["state"] == "running"
    assert place.done("cancel", job_id).stdout.startswith(f"{job_id}: ")
    watched = place.run("watch", job_id, "--json")
    assert watched.returncode == 1
    assert json.loads(watched.stdout)["state"] == "cancelled"
    again = place.run("cancel", job_id)
    assert again.returncode in (0, 2)


def test_jobs_of_the_command_line_make_a_chain(cluster: Cluster) -> None:
    place = cluster.place
    place.write("in.txt", "a b\na\n")
    place.write("slow.py", SLOW)
    place.write("wc.py", WORD_COUNT)
    for name in ("started", "go"):
        (place.work / name).unlink(missing_ok=True)
    first = place.done("submit", "slow.py", "in.txt", "-o", "link1", "-r", "1").stdout.strip()
    submitted = place.done("submit", "wc.py", "link1/", "-o", "link2", "--after", first)
    second = submitted.stdout.strip()
    third = place.start("run", "wc.py", "link2/", "-o", "link3", "-r", "1", "--after", second)
    assert third.stderr is not None
    assert third.stderr.readline().endswith(f" waits for {second}\n"), "run follows from the start"
    table = place.done("jobs").stdout
    assert f"{second}\twaits for {first}\t" in table
    shown = place.json("show", second)
    assert (shown["state"], shown["waits_for"]) == ("waiting", [first])
    assert f"state      waiting (waits for {first})" in place.done("show", second).stdout

    (place.work / "go").touch()
    _, said = third.communicate(timeout=50)
    assert third.returncode == 0, said
    assert place.lines("link1") == ["a\t1", "a b\t1"]
    assert sorted(place.lines("link2")) == ["1\t2", "a\t2", "b\t1"]
    assert place.lines("link3") == ["1\t2", "2\t2", "a\t1", "b\t1"]
    refused = place.run("submit", "wc.py", "in.txt", "-o", "link4", "--after", "wc-1")
    assert refused.returncode == 2
    assert "The job is to run after wc-1, but no job wc-1 is known here." in refused.stderr


def test_interrupted_run_cancels_on_the_cluster(cluster: Cluster) -> None:
    place = cluster.place
    place.write("in.txt", "a\n")
    place.write("slow.py", SLOW)
    for name in ("started", "go"):
        (place.work / name).unlink(missing_ok=True)
    run = place.start("run", "slow.py", "in.txt", "-o", "interrupted")
    wait_until((place.work / "started").exists)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=50)
    assert run.returncode == 130
    assert json.loads(place.done("jobs", "--json").stdout)[0]["state"] == "cancelled"


def test_a_run_survives_a_restart_of_the_master(cluster: Cluster) -> None:
    place = cluster.place
    place.write("in.txt", "a\n")
    place.write("slow.py", SLOW)
    for name in ("started", "go"):
        (place.work / name).unlink(missing_ok=True)
    run = place.start("run", "slow.py", "in.txt", "-o", "restarted", "-r", "1", "--lease", "2s")
    wait_until((place.work / "started").exists)
    cluster.daemons[0].kill()
    cluster.daemons[0].wait()
    (place.work / "go").touch()
    cluster.start_master()
    _, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert place.lines("restarted") == ["a\t1"]


def test_a_drained_worker_leaves(cluster: Cluster) -> None:
    place = cluster.place
    process = cluster.start_worker()
    wait_until(lambda: len(cluster.workers()) == 2)
    (worker,) = (w for w in cluster.workers() if w["process_id"] == process.pid)
    assert worker["slots"] == 2
    assert "is draining" in place.done("drain", worker["worker_id"]).stdout
    assert process.wait(20) == 0
    assert place.run("drain", "nobody").returncode == 2


def test_a_master_beyond_loopback_needs_tls(place: Place) -> None:
    result = place.run_process("master", "--listen", "0.0.0.0:0", "--state", "cluster")
    assert result.returncode == 2
    assert "--tls" in result.stderr
    assert result.stderr.startswith("mrcore")


def test_help_of_the_daemons_is_theirs(place: Place) -> None:
    for daemon in ("master", "worker"):
        assert "--lifeline-fd" in place.run_process(daemon, "--help").stdout
