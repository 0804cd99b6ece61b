"""Reasons for which work waits beside idle workers."""

from __future__ import annotations

import json
import logging

import pytest

from mrcore.master.core.limits import Limits
from mrcore.master.core.scheduler import Scheduler
from mrcore.master.core.volatile import Worker
from mrcore.master.shell.fact_log import log_stalls
from tests.scenario.script import Script
from tests.support.played_machine import played


def stall(*lines: str, script: Script | None = None) -> str:
    """Return the reasons of the only stall that lines lead to."""
    script = script or Script()
    played(script, *lines)
    [found] = script.machine.watchdog.news
    assert script.machine.watchdog.count == 1
    before, _, reasons = found.sentence.partition(": ")
    assert " queued for 6" in before
    return reasons


def test_another_python_is_named() -> None:
    reasons = stall(
        "submit j maps=2 lease=600",
        "sync w1",
        "sync w1 running:j/map-0@1.1:1",
        "sync w2 python=3.10",
        "rest 65",
    )
    assert reasons == "w2 must not, having Python 3.10 instead of 3.11"


def test_reserved_room_is_named() -> None:
    reasons = stall(
        "submit j maps=2 lease=600 needs=cpu=2",
        "sync w1 slots=4 offers=cpu=3",
        "sync w1 running:j/map-0@1.1:1",
        "rest 65",
    )
    assert reasons == "w1 must not, since other attempts have reserved the CPUs or memory"


def test_room_that_is_saved_is_named() -> None:
    script = Script()
    played(
        script,
        "submit small maps=3 lease=600 needs=cpu=1",
        "sync w1 slots=4 offers=cpu=3",
        "sync w1 running:small/map-0@1.1:1 running:small/map-1@1.2:1 done:small/map-2@1.3:x",
        "submit large maps=1 lease=600 needs=cpu=3 priority=9",
        "submit more maps=1 lease=600 needs=cpu=1",
        "rest 65",
    )
    found = {each.job_id: each.sentence for each in script.machine.watchdog.news}
    assert "w1 must save CPUs or memory for larger tasks of another job" in found["more"]
    assert "other attempts have reserved" in found["large"]


def test_a_task_that_keeps_away_from_a_worker_is_named() -> None:
    reasons = stall(
        "submit j maps=2 lease=600",
        "sync w1",
        "sync w1 running:j/map-0@1.1:1",
        "sync w2",
        "sync w2 data:j/map-1@1.2:it_cannot_be_read",
        "sync w2",
        "rest 65",
    )
    assert reasons == "w2 must not, since the tasks failed there and others may do better"


def test_a_task_of_a_lower_priority_is_not_what_room_is_saved_for() -> None:
    script = Script()
    played(
        script,
        *("submit other maps=1 lease=600", "sync w1", "sync w1 running:other/map-0@1.1:1"),
        *("submit mid maps=1 lease=600 needs=cpu=1", "sync w2 slots=2 offers=cpu=3"),
        *("sync w2 running:mid/map-0@1.2:1", "submit j maps=1 lease=600"),
        "sync w2 running:mid/map-0@1.2:1 data:j/map-0@1.3:it_cannot_be_read",
        *("sync w2 running:mid/map-0@1.2:1", "submit large maps=1 needs=cpu=3 priority=-9"),
        "rest 65",
    )
    found = {each.job_id: each.sentence for each in script.machine.watchdog.news}
    assert "w2 must not, since the tasks failed there" in found["j"]
    assert "other attempts have reserved" in found["large"]


def test_workers_that_have_not_reported_are_named() -> None:
    reasons = stall(
        "submit j maps=2 lease=600",
        "sync w1",
        "sync w1 running:j/map-0@1.1:1",
        "restart",
        "sync w2",
        "wait 0",
        *["sync w2", "wait 3"] * 22,
    )
    assert reasons == "after its start the master still waits for w1 to report"


def test_many_workers_are_counted() -> None:
    reasons = stall(
        "submit j maps=1 needs=label=gpu", *[f"sync w{n} blind" for n in range(5)], "rest 65"
    )
    assert reasons == "w0, w1, w2 and 2 more cannot see the master's store"


def test_work_that_goes_on_is_no_stall() -> None:
    script = Script()
    played(script, "submit j maps=9 lease=600", "sync w1", "sync w2 blind")
    for n in range(1, 9):
        played(script, f"sync w1 running:j/map-{n - 1}@1.{n}:1", "rest 40")
        played(script, f"sync w1 done:j/map-{n - 1}@1.{n}:x/40")
    assert script.machine.watchdog.count == 0


class Asleep(Scheduler):
    """Gives nothing out."""

    def fill(self, worker: Worker) -> None:
        """Do nothing."""


def test_a_defect_is_called_one_and_its_state_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = Script(Limits(stall_seconds=61.0))
    machine = script.machine
    machine.scheduler.__class__ = Asleep
    reasons = stall("submit j maps=1", "sync w1 slots=2", "rest 65", script=script)
    assert reasons.startswith("w1 could take them, and nothing explains why not")
    with caplog.at_level(logging.WARNING, "mrcore.master"):
        log_stalls(machine)
    [record] = caplog.records
    assert record.getMessage().startswith("tasks wait: 1 map task is queued for 6")
    state = json.loads(vars(record)["state"])
    assert (state["job"], state["idle"][0]["id"], state["idle"][0]["slots"]) == ("j", "w1", 2)
    log_stalls(machine)
    assert len(caplog.records) == 1
