"""Runs that do not go to their end: Ctrl-C, signals, kill -9 of the client and of daemons."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mrcore.engine.history import RunRecord
from mrcore.model.job import JobState
from mrcore.model.snapshots import JobView
from tests.support.run_support import Place
from tests.support.slow_jobs import SLOW
from tests.support.waiting import wait_until


@pytest.fixture
def slow(place: Place) -> Iterator[subprocess.Popen[str]]:
    """Start a run whose map waits for a file called `go`, and wait until it does."""
    place.write("slow.py", SLOW)
    place.write("in.txt", "a\n")
    options = ("-w", "1", "-r", "1", "--lease", "2s", "--json")
    process = place.start("run", "slow.py", "in.txt", "-o", "out", *options)
    wait_until((place.work / "started").exists)
    yield process
    if process.poll() is None:
        process.kill()
        process.communicate()


def leavings(folder: Path) -> list[str]:
    """Return the names in an output that somebody could take for a result or a claim."""
    if not folder.exists():
        return []
    return sorted(path.name for path in folder.iterdir() if path.name not in ("_tmp", "_bad"))


def test_interrupt_cancels_the_job_and_ends_everything(
    place: Place, slow: subprocess.Popen[str]
) -> None:
    os.killpg(slow.pid, signal.SIGINT)  # as a terminal does
    printed, said = slow.communicate(timeout=50)
    assert slow.returncode == 130
    assert json.loads(printed)["state"] == "cancelled"
    assert "Ctrl-C again leaves at once" in said
    assert "has ended: cancelled" in said
    assert "Traceback" not in said
    assert place.processes() == {}
    assert leavings(place.work / "out") == []
    assert "cancelled" in place.done("jobs").stdout


def test_second_interrupt_leaves_at_once(place: Place, slow: subprocess.Popen[str]) -> None:
    slow.send_signal(signal.SIGINT)
    slow.send_signal(signal.SIGINT)
    _, said = slow.communicate(timeout=50)
    assert slow.returncode == 130
    assert "Traceback" not in said
    assert place.processes() == {}


def test_sigterm_is_an_interrupt(place: Place, slow: subprocess.Popen[str]) -> None:
    slow.terminate()
    slow.communicate(timeout=50)
    assert slow.returncode == 130
    assert place.processes() == {}


def test_a_run_under_nohup_survives_the_end_of_the_terminal(place: Place) -> None:
    place.write("slow.py", SLOW)
    place.write("in.txt", "a\n")
    process = place.start("run", "slow.py", "in.txt", "-o", "out", "-w", "1", under=("nohup",))
    wait_until((place.work / "started").exists)
    os.killpg(process.pid, signal.SIGHUP)
    (place.work / "go").touch()
    _, said = process.communicate(timeout=50)
    assert process.returncode == 0, said
    assert place.lines() == ["a\t1"]


def test_kill_of_the_client_leaves_no_process_and_no_lock(
    place: Place, slow: subprocess.Popen[str]
) -> None:
    slow.kill()
    slow.communicate(timeout=50)
    wait_until(lambda: not place.processes())
    assert "abandoned" in place.done("jobs").stdout
    # The claim is that of a dead state, so the next run takes the output over.
    (place.work / "go").touch()
    place.done("run", "slow.py", "in.txt", "-o", "out", "-w", "1", "-r", "1")
    assert place.lines() == ["a\t1"]
    freed = place.done("gc", "out", "--older-than", "0s").stdout
    assert "temporary objects" in freed or not (place.work / "out" / "_tmp").exists()
    assert not (place.work / "out" / "_tmp").exists()


COUNTED = """
    import pathlib
    import time

    def map(key, value):
        with open("ran-" + pathlib.Path(key[0]).name, "a") as log:
            log.write("x")
        while key[0].endswith("c.txt") and not pathlib.Path("go").exists():
            time.sleep(0.02)
        yield value, 1

    def reduce(key, values):
        return sum(values)
"""


def counted_run(place: Place) -> tuple[str, ...]:
    """Make a job of three maps, the last of which waits for a file called `go`."""
    place.write("counted.py", COUNTED)
    for name in "abc":
        place.write(f"in/{name}.txt", f"{name}\n")
    return ("run", "counted.py", "in", "-o", "out", "-w", "1", "-r", "1")


def recorded(place: Place) -> JobView | None:
    """Return the job of the only run, as its client has written it down."""
    for path in (place.root / "state" / "mrcore" / "runs").glob("*/run.json"):
        return msgspec.json.decode(path.read_bytes(), type=RunRecord).job
    return None


def completed_maps(place: Place) -> int:
    """Return how many maps of the run are known to be done."""
    job = recorded(place)
    return 0 if job is None else job.stages[0].completed


def is_committing(place: Place) -> bool:
    job = recorded(place)
    return job is not None and job.state is JobState.COMMITTING


def kill(place: Place, process: subprocess.Popen[str]) -> None:
    """End a client as the power does, and wait until its daemons have left."""
    process.kill()
    process.communicate(timeout=50)
    wait_until(lambda: not place.processes())


def test_the_same_command_goes_on_from_what_a_killed_run_had_finished(place: Place) -> None:
    command = counted_run(place)
    process = place.start(*command)
    wait_until(lambda: completed_maps(place) == 2)
    kill(place, process)
    job = recorded(place)
    assert job is not None
    shown = place.done("show", job.job_id).stdout
    assert "abandoned" in shown
    assert "run the same command again to continue" in shown
    assert "2 won" in shown
    assert "none has joined" not in shown
    (place.work / "go").touch()
    said = place.done(*command).stderr
    assert "which was interrupted" in said
    assert place.lines() == ["a\t1", "b\t1", "c\t1"]
    assert [(place.work / f"ran-{name}.txt").read_text() for name in "ab"] == ["x", "x"]
    (ended,) = json.loads(place.done("jobs", "--json").stdout)
    assert (ended["job_id"], ended["state"]) == (job.job_id, "succeeded")


@pytest.fixture
def torn(place: Place) -> tuple[str, ...]:
    """Kill a run in its commit, when it has published a part; return its command."""
    command = counted_run(place)
    process = place.start(*command)
    wait_until(lambda: completed_maps(place) == 2)
    out = place.work / "out"
    folder = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        (place.work / "go").touch()
        wait_until(lambda: is_committing(place))
        kill(place, process)
    finally:
        os.close(folder)
    # New names need no lock, so it may have got further than to the first part, or less far.
    (out / "_SUCCESS").unlink(missing_ok=True)
    for staged in (*out.glob("_tmp/*/staged/_commit-*"), *out.glob("_tmp/*/staged/*-part-00000")):
        name = out / staged.name.partition("-")[2 if "part" in staged.name else 0]
        name.unlink(missing_ok=True)
        name.hardlink_to(staged)
    return command


def test_the_same_command_finishes_a_commit_that_was_killed(
    place: Place, torn: tuple[str, ...]
) -> None:
    assert "only a part" in place.run("verify", "out").stderr
    kept = place.done("gc", "out", "--older-than", "0s").stdout
    assert "run its command again to finish it" in kept
    assert place.done("gc", "--older-than", "0s").stdout == "removed 0 embedded runs\n"
    place.done(*torn)
    place.done("verify", "out")
    assert leavings(place.work / "out") == ["_SUCCESS", "part-00000"]
    assert not (place.work / "out" / "_tmp").exists()
    assert [(place.work / f"ran-{name}.txt").read_text() for name in "abc"] == ["x", "x", "x"]


def test_another_command_finishes_the_commit_that_was_killed_and_then_obeys_its_own_rules(
    place: Place, torn: tuple[str, ...]
) -> None:
    refused = place.run(*torn[:-1], "2")
    assert refused.returncode == 2
    finishing, refusal = refused.stderr.splitlines()
    assert finishing.startswith("mrcore: first finishing ")
    assert "is not empty" in refusal
    place.done("verify", "out")
    place.done(*torn[:-1], "2", "--overwrite")
    assert leavings(place.work / "out") == ["_SUCCESS", "part-00000", "part-00001"]


@pytest.mark.parametrize("daemon", ["master", "worker"])
def test_a_daemon_that_is_killed_is_started_again(
    place: Place, slow: subprocess.Popen[str], daemon: str
) -> None:
    victims = [
        pid for pid, command in place.processes().items() if f"-m mrcore.{daemon} " in command
    ]
    assert victims
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    (place.work / "go").touch()
    _, said = slow.communicate(timeout=60)
    assert slow.returncode == 0, said
    assert place.lines() == ["a\t1"]


def test_a_live_run_can_be_listed_shown_and_cancelled(
    place: Place, slow: subprocess.Popen[str]
) -> None:
    job_id, state = place.done("jobs").stdout.splitlines()[1].split("\t")[:2]
    assert state == "running"
    # The master learns that the attempt runs when its worker synchronises next.
    wait_until(lambda: "RUNNING TASK" in place.done("show", job_id).stdout)
    assert "map-00000" in place.done("show", job_id, "--tasks").stdout
    place.done("cancel", job_id)
    _, said = slow.communicate(timeout=50)
    assert slow.returncode == 1
    assert "cancel" in said
