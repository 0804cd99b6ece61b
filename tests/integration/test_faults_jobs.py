"""Jobs that are hurt: in the commit, by one another, by what vanishes, by a store with bad days."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrcore.cli.main import run_command_line
from mrcore.client.client import MasterClient
from mrcore.errors import UsageError
from mrcore.model.job import JobState
from mrcore.rpc.credentials import state_credentials
from mrcore.storage.base import ObjectInfo
from mrcore.storage.registry import storage_for
from tests.support.fault_cluster import FILES, GATES, Scene, set_faults
from tests.support.waiting import wait_until

pytestmark = pytest.mark.xdist_group("faults of jobs")  # one cluster for all

on_both = pytest.mark.parametrize("cluster", ["file", "gs"], indirect=True)
"""The store decides what happens; elsewhere the daemons do, and files are enough."""
on_a_bucket = pytest.mark.parametrize("cluster", ["gs"], indirect=True)


@contextlib.contextmanager
def stuck_commit(scene: Scene, job_id: str) -> Iterator[None]:
    """Let a commit publish some of the parts, and not the others before the block ends."""
    out = scene.out()

    def some_are_there() -> bool:
        return any(True for _ in storage_for(out).list(f"{out}/part-"))

    with contextlib.ExitStack() as stack:
        # Whoever publishes on files locks the folder, so none is before one of them is held.
        folder = stack.enter_context(_opened(out.removeprefix("file://")))
        fcntl.flock(folder, fcntl.LOCK_EX)
        scene.open_gate()
        wait_until(lambda: _hold_a_staged_part(f"{out}/_tmp/{job_id}/staged/", stack))
        fcntl.flock(folder, fcntl.LOCK_UN)
        wait_until(some_are_there)
        yield


def _hold_a_staged_part(prefix: str, stack: contextlib.ExitStack) -> bool:
    """Let whoever opens some staged part wait until the stack is left, by a lease on the file."""
    staged = [info.uri for info in storage_for(prefix).list(prefix)]
    if not staged:
        return False
    with contextlib.ExitStack() as held:
        file = held.enter_context(_opened(staged[0].removeprefix("file://")))
        # The system reports the first that waits, by a signal that ends nobody.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except BlockingIOError:
            return False  # its writer has it open yet
        stack.push(held.pop_all())
    return True


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_a_master_that_is_killed_while_it_commits(scene: Scene) -> None:
    reduces = 20
    scene.worker("--slots", "2")
    job_id = scene.submit("reduce", reduces=reduces)
    scene.at_gate("reduce")
    out = scene.out()
    with stuck_commit(scene, job_id):
        assert scene.client.get(job_id).state is JobState.COMMITTING
        with pytest.raises(UsageError, match="can no longer be cancelled"):
            scene.client.cancel(job_id)
        scene.cluster.master.kill()
        names = [info.uri.rpartition("/")[2] for info in storage_for(out).list(f"{out}/")]
        assert "_claim" in names
        assert "_SUCCESS" not in names
        assert sum(name.startswith("part-") and "@" not in name for name in names) > 0
        published = list(storage_for(out).list(f"{out}/part-"))
        assert 0 < len(published) < reduces
    scene.cluster.start_master()
    scene.succeeds(job_id)
    # What was published stayed as it was.
    now = {info.uri: info.generation for info in storage_for(out).list(f"{out}/part-")}
    assert len(now) == reduces
    assert all(now[info.uri] == info.generation for info in published)


def test_two_jobs_at_once_and_a_third_is_cancelled(scene: Scene) -> None:
    jobs = {out: scene.submit("map", out=out) for out in map(scene.out, "abc")}
    scene.worker("--slots", "3")
    # Each gets its turn, though the first alone could fill the slots.
    wait_until(lambda: all(_running(scene, job_id) >= 1 for job_id in jobs.values()))
    *others, cancelled = jobs
    assert scene.client.cancel(jobs[cancelled]).state is JobState.CANCELLED
    scene.open_gate()
    for out in others:
        scene.succeeds(jobs[out], out)
    assert scene.wait(jobs[cancelled]).state is JobState.CANCELLED
    # A cancelled job keeps its temporaries for a while, and nothing else.
    wait_until(lambda: all(name.startswith("_tmp/") for name in scene.leavings(cancelled)))
    assert not list(storage_for(cancelled).list(f"{cancelled}/part-"))


def _running(scene: Scene, job_id: str) -> int:
    return scene.client.get(job_id).stages[0].in_progress


def test_workers_that_are_drained(scene: Scene) -> None:
    asked, told = scene.worker(), scene.worker("--grace", "200s")
    job_id = scene.submit("map")
    at_gate = scene.at_gate("map", 2)
    assert set(at_gate) == {asked.process.pid, told.process.pid}
    scene.client.drain(str(asked.ready["worker_id"]))
    told.process.terminate()
    scene.worker()
    scene.at_gate("map", 3)
    scene.open_gate()
    job = scene.succeeds(job_id)
    assert (asked.wait(), told.wait()) == (0, 0)
    # Each finished what it ran, began nothing more, and nothing was lost with it.
    runs = scene.runs()
    assert set(runs) == {f"{number}.txt" for number in range(FILES)}
    # One that stood at the gate for long may have had a backup.
    backups = job.attempts.superseded
    assert runs.total() <= FILES + backups
    assert (job.attempts.failed, job.attempts.expired) == (0, 0)
    begun = [line.split()[1] for line in (scene.folder / "runs").read_text().splitlines()]
    assert [begun.count(str(pid)) for pid in at_gate] == [1, 1]


def test_a_drained_worker_stays_drained_when_its_process_is_replaced(scene: Scene) -> None:
    former, _ = scene.worker("--id", "one"), scene.worker()
    job_id = scene.submit("map")
    at_gate = scene.at_gate("map", 2)
    scene.client.drain("one")
    successor = scene.worker("--id", "one")  # as a unit does, but while the former is there
    assert successor.wait() == 0, "an exit code with which no unit starts it again"
    assert "drained" in successor.log()
    assert former.wait() == 1
    anew = scene.worker("--id", "one")  # started on purpose: it works
    scene.open_gate()
    scene.succeeds(job_id)
    assert set(at_gate) & {former.process.pid}
    assert anew.process.poll() is None


def test_a_worker_that_sleeps_longer_than_its_lease(scene: Scene) -> None:
    zombie, _ = scene.worker(), scene.worker()
    job_id = scene.submit("map")
    scene.at_gate("map", 2)
    # Its child goes on, and writes a run that nobody asks for.
    zombie.process.send_signal(signal.SIGSTOP)
    scene.open_gate()
    job = scene.succeeds(job_id)
    assert job.attempts.expired >= 1
    assert sum(scene.runs().values()) > FILES
    zombie.process.send_signal(signal.SIGCONT)
    wait_until(lambda: _silence(scene, zombie) < 1.0)
    scene.check_output(scene.out())
    # It is as good as any other again.
    scene.workers[1].process.terminate()
    again = scene.submit(out=scene.out("again"))
    scene.succeeds(again, scene.out("again"))


def _silence(scene: Scene, worker: object) -> float:
    ready = getattr(worker, "ready", {})
    for view in scene.client.workers():
        if view.worker_id == ready["worker_id"]:
            return view.silent_seconds
    return 99.0


def test_a_master_that_slept_while_another_took_over(scene: Scene) -> None:
    cluster = scene.cluster
    scene.worker()
    job_id = scene.submit("map")
    scene.at_gate("map")
    old = cluster.master
    old.process.send_signal(signal.SIGSTOP)
    former, cluster.address = cluster.address, "127.0.0.1:0"
    try:
        cluster.start_master("--take-over")
        old.process.send_signal(signal.SIGCONT)
        # It looks at the journal now and then, even when nobody calls it.
        assert old.wait(20.0) == 4
    finally:
        cluster.address = former
    assert "has taken over" in old.log() or "has written entry" in old.log()
    with contextlib.ExitStack() as stack:
        scene.client = stack.enter_context(_client(scene))
        scene.open_gate()
        job = scene.succeeds(job_id)
    assert job.attempts.failed == 0
    # The next test finds a master where it looks for one.
    assert cluster.master.stop() == 0
    cluster.start_master()


def _client(scene: Scene) -> MasterClient:
    state_uri = scene.cluster.state_uri
    return MasterClient(state_credentials(state_uri))


def maps_done_but_one(scene: Scene) -> tuple[str, list[ObjectInfo]]:
    """Start a job that stops in its last map; return its id and the runs of the others."""
    scene.worker("--slots", "2")
    job_id = scene.submit("5.txt")
    scene.at_gate("5.txt")
    wait_until(lambda: scene.client.get(job_id).stages[0].completed == FILES - 1)
    out = scene.out()
    runs = list(storage_for(out).list(f"{out}/_tmp/{job_id}/runs/"))
    assert len(runs) == FILES - 1
    return job_id, runs


def test_runs_that_vanish_are_made_again(scene: Scene) -> None:
    job_id, runs = maps_done_but_one(scene)
    for info in runs[:2]:
        assert storage_for(info.uri).delete(info.uri)
    scene.open_gate()
    job = scene.succeeds(job_id)
    assert sum(scene.runs().values()) == FILES + 2
    # Nobody's code has failed, and no reduce is blamed.
    assert job.attempts.failed == 0


@on_both
def test_a_corrupt_run_is_made_again(scene: Scene) -> None:
    job_id, runs = maps_done_but_one(scene)
    if scene.cluster.kind == "gs":
        name = runs[0].uri.removeprefix("gs://").partition("/")[2]
        rule: dict[str, object] = {"kind": "corrupt", "verb": "objects.media", "name": name}
        set_faults(scene.cluster.url, rule)
    else:
        _flip_a_byte(Path(runs[0].uri.removeprefix("file://")))
    scene.open_gate()
    job = scene.succeeds(job_id)
    assert sum(scene.runs().values()) == FILES + 1
    assert job.attempts.failed == 0


def _flip_a_byte(path: Path) -> None:
    """Change the content as a failing disk does: the store cannot tell."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(20)
        byte = file.read(1)
        file.seek(20)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


FAILING = """
def map(key, value):
    note("map")
    for word in value.split():
        yield word, 1

def reduce(key, values):
    assert key != WORD
    return sum(values)
"""


@on_a_bucket
def test_a_failed_job_is_replayed_from_the_bucket_and_goes_on(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    """As from a laptop: nothing but the name of the state leads to the job and its master."""
    scene.worker("--slots", "2")
    word = min(scene.expected)
    job_id = scene.submit(source=f"WORD = {word!r}\n{FAILING}")
    job = scene.wait(job_id)
    assert job.state is JobState.FAILED
    [task] = set(re.findall(r"reduce-\d+", job.message))
    state = ["--state", scene.cluster.state_uri]
    wait_until(lambda: run_command_line(["replay", job_id, task, *state]) == 1)
    assert f"{task} fails here as in attempt" in capsys.readouterr().err
    mapped = scene.runs()["map"]
    mended = scene.folder / "mended.py"
    mended.write_text(GATES + FAILING.replace("key != WORD", "key"))
    plugin = ["--plugin", str(mended)]
    assert run_command_line(["replay", job_id, task, *state, *plugin]) == 0
    assert run_command_line(["resume", job_id, *state, *plugin, "--keep-results", "map"]) == 0
    scene.check_output(scene.out())
    assert scene.runs()["map"] == mapped, "what the maps had left was kept"


@on_a_bucket
def test_a_store_that_has_bad_days(scene: Scene) -> None:
    # The store is the GCS server, for the job's data and for the state.
    scene.worker("--slots", "2")
    set_faults(
        scene.cluster.url,
        {"kind": "lost", "verb": "*", "probability": 0.1, "count": 20},
        {"kind": "error", "status": 503, "probability": 0.1, "count": 20},
        {"kind": "error", "status": 429, "probability": 0.05, "count": 10},
    )
    job_id = scene.submit()
    job = scene.succeeds(job_id)
    assert job.attempts.failed == 0
