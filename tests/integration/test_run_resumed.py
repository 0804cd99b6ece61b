"""Embedded runs that go on after they have failed, or were cancelled."""

from __future__ import annotations

import json
import os
import signal

from tests.support.run_support import Place
from tests.support.slow_jobs import FAILING, SLOW
from tests.support.waiting import wait_until


def test_an_embedded_run_that_failed_goes_on_with_mended_code(place: Place) -> None:
    place.write("in.txt", "a\nb\nbad\n")
    place.write("job.py", FAILING)
    failed = place.run("run", "job.py", "in.txt", "-o", "out", "-r", "2", "-w", "1", "--json")
    former = json.loads(failed.stdout)["job_id"]
    once = (place.work / "mapped").read_text()
    place.write("job.py", FAILING.replace("1 / 0", "-1"))
    keep = ("--plugin", "job.py", "--keep-results", "map", "-w", "1")
    going_on = place.run("resume", former, *keep, "--json")
    assert going_on.returncode == 0, going_on.stderr
    assert "1 of 1 map task is kept." in going_on.stderr
    assert sorted(place.lines()) == ["a\t1", "b\t1", "bad\t-1"]
    assert (place.work / "mapped").read_text() == once
    assert not (place.work / "out/_tmp").exists()
    job_id = json.loads(going_on.stdout)["job_id"]
    assert place.json("show", job_id)["state"] == "succeeded"
    assert place.json("show", former)["state"] == "failed"
    assert place.processes() == {}


def test_a_run_that_was_interrupted_goes_on(place: Place) -> None:
    place.write("slow.py", SLOW)
    place.write("in.txt", "a\n")
    process = place.start("run", "slow.py", "in.txt", "-o", "out", "-w", "1", "-r", "1", "--json")
    wait_until((place.work / "started").exists)
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=50)
    (place.work / "go").touch()
    going_on = place.run("resume", json.loads(printed)["job_id"], "-w", "1")
    assert going_on.returncode == 0, going_on.stderr
    assert place.lines() == ["a\t1"]
