"""Every command has an answer, also one that was overtaken before the committer took it up."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from mrcore.master.core.commands import CheckWinner, CleanUp, PlanJob, PrepareCommit, RunCommit
from mrcore.master.core.events import Event, NothingDone, WinnerMissing
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.core.orders import Job, Preparation, WinnerLookup, failed, order
from mrcore.master.core.records import JobRecord
from mrcore.master.shell.committer import Committer
from mrcore.master.shell.objects import Objects
from mrcore.master.shell.plans import Plans
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobState
from mrcore.model.stages import StagePlan
from mrcore.storage.base import ObjectInfo
from mrcore.storage.memory import MemoryStorage
from mrcore.util.clock import SYSTEM
from tests.scenario.script import Script

MAP = AttemptId(TaskId("j", 0, 0), AttemptNumber(1, 1))
LOSES_A_WINNER = (
    "submit j maps=1 reduces=2",
    "sync w1 slots=2",
    "sync w1 done:j/map-0@1.1:same",
    "sync w1 done:j/reduce-0@1.2 unread:j/reduce-1@1.3:0",
    "sync w1 done:j/reduce-1@1.4",
    "missing j/map-0@1.1",
)


def answer(machine: Machine, command: Job) -> Event:
    """Return what the real committer reports."""

    async def plan(job: JobRecord) -> tuple[tuple[StagePlan, ...], int]:
        raise AssertionError(f"{job.job_id} is planned")

    storage, state = MemoryStorage(), "mem://space/state"
    plans, objects = Plans(storage, state), Objects(storage, state, SYSTEM)
    committer = Committer(machine, plans, SYSTEM, planner=plan, notes={}, objects=objects)
    return asyncio.run(committer.carry_out(command))


def test_an_overtaken_preparation_is_reported_and_the_job_still_commits() -> None:
    script = Script()
    said = [line for words in LOSES_A_WINNER for line in script.obey(words)]
    assert "prepare commit j" in said
    event = answer(script.machine, PrepareCommit("j"))
    assert event == NothingDone(PrepareCommit("j"))
    script.machine.step(event, script.now)
    script.obey("sync w2")
    assert "prepare commit j" in script.obey("sync w2 done:j/map-0@1.5:same")


def test_an_overtaken_preparation_is_ordered_again_if_the_job_is_complete_by_then() -> None:
    script = Script()
    for line in LOSES_A_WINNER:
        script.obey(line)
    event = order(script.machine.cluster, PrepareCommit("j"))
    assert isinstance(event, NothingDone)
    script.obey("sync w2")
    script.obey("sync w2 done:j/map-0@1.5:same")
    assert script.machine.step(event, script.now).commands == [PrepareCommit("j")]


@pytest.mark.parametrize(
    "command",
    [
        PlanJob("unknown"),
        PrepareCommit("unknown"),
        RunCommit("unknown"),
        CleanUp("unknown", JobState.FAILED),
        CheckWinner(MAP),
    ],
)
def test_a_command_about_an_unknown_job_has_an_answer(command: Job) -> None:
    machine = Machine(Limits(), Random(0))
    assert answer(machine, command) == NothingDone(command)
    assert failed(command, "why", 0.0) is not None


def test_a_job_that_was_cancelled_meanwhile_is_not_prepared() -> None:
    script = Script()
    for line in ("submit j maps=1", "sync w1", "sync w1 done:j/map-0@1.1:a"):
        script.obey(line)
    assert isinstance(order(script.machine.cluster, PrepareCommit("j")), Preparation)
    script.obey("cancel j")
    assert order(script.machine.cluster, PrepareCommit("j")) == NothingDone(PrepareCommit("j"))


def test_a_look_compares_the_generation() -> None:
    command = CheckWinner(MAP)
    look = WinnerLookup(command, ObjectInfo("mem://x", 1, "5", 0))
    assert look.seen("5") == NothingDone(command)
    assert look.seen("6") == look.seen(None) == WinnerMissing(MAP)
