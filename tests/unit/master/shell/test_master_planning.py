"""Jobs that wait for others: what they hold meanwhile, and how they are planned."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mrcore.errors import (
    InputError,
    OutputError,
    UnavailableError,
    UnknownJobError,
    UsageError,
)
from mrcore.master.core.commands import PlanJob
from mrcore.master.core.events import Event, JobBroken, NothingDone, Planned, Synced
from mrcore.master.core.limits import Limits
from mrcore.master.core.records import JobRecord
from mrcore.master.shell import committer, submissions
from mrcore.master.shell.committer import Committer
from mrcore.master.shell.job_notes import JobNotes
from mrcore.master.shell.objects import Objects
from mrcore.master.shell.plans import Plans
from mrcore.model.job import Input, JobSpec, JobState
from mrcore.model.stages import StagePlan
from mrcore.model.task import Piece, Split
from mrcore.storage.memory import MemoryStorage
from mrcore.tasks.plan import Plan
from mrcore.util.clock import SYSTEM
from tests.scenario.script import Script
from tests.support.stage_plans import two_stages
from tests.support.submission_desk import Desk, run, spec_of

STAGES = two_stages(2, 1)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "_FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(submissions, "REJOIN_SECONDS", 0.0)


def carry_out(attempt: Callable[[Script, JobNotes, int], None]) -> tuple[Event, int]:
    """Plan a job; `attempt` may raise in each try. Return the answer and the number of tries."""
    script, tries = Script(), 0
    notes: JobNotes = {}
    for line in ("submit a maps=0", "submit b after=a", "prepared a"):
        script.obey(line)
    assert "plan b" in script.obey("published a")

    async def plan(job: JobRecord) -> tuple[tuple[StagePlan, ...], int]:
        nonlocal tries
        tries += 1
        assert job.job_id == "b"
        attempt(script, notes, tries)
        return STAGES, 7

    storage, state = MemoryStorage(), "mem://space/state"
    plans, objects = Plans(storage, state), Objects(storage, state, SYSTEM)
    machine = script.machine
    obeying = Committer(machine, plans, SYSTEM, planner=plan, notes=notes, objects=objects)
    event = asyncio.run(obeying.carry_out(PlanJob("b")))
    assert notes == {}
    return event, tries


def test_a_plan_is_tried_again_while_the_store_is_away() -> None:
    def attempt(script: Script, notes: JobNotes, number: int) -> None:
        if number == 2:
            assert notes["b"] == "could not plan the job; trying again: away"
        if number < 3:
            raise UnavailableError("away")

    assert carry_out(attempt) == (Planned(job_id="b", stages=STAGES, input_bytes=7), 3)


def test_an_input_that_is_not_there_ends_the_job() -> None:
    def attempt(script: Script, notes: JobNotes, number: int) -> None:
        raise InputError("The input x does not exist.")

    assert carry_out(attempt) == (JobBroken("b", "The input x does not exist."), 1)


def test_nobody_plans_a_job_that_was_cancelled() -> None:
    def attempt(script: Script, notes: JobNotes, number: int) -> None:
        script.obey("cancel b")
        raise UnavailableError("away")

    assert carry_out(attempt) == (NothingDone(PlanJob("b")), 1)


def waiting_spec(folder: Path, *after: str) -> JobSpec:
    """Return a job whose input is not there yet."""
    spec = spec_of(folder)
    given = Input(f"file://{folder}/later/", f"file://{folder}/later/", "later/")
    return msgspec.structs.replace(spec, inputs=(given,), after=after)


def test_a_job_that_waits_holds_its_output_and_is_planned_later(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        first = await desk.submit(spec_of(tmp_path, "first"), "first")
        job_id = await desk.submit(waiting_spec(tmp_path, first))
        record = desk.shell.machine.cluster.job(job_id)
        assert record is not None
        assert (record.state, record.stages, record.waits_for) == (JobState.WAITING, [], [first])
        with pytest.raises(OutputError, match=f"is taken by job {job_id}"):
            await desk.submit(spec_of(tmp_path), "other")
        with pytest.raises(InputError, match="does not exist"):
            await desk.submissions.plan(record)

        (tmp_path / "later").mkdir()
        (tmp_path / "later" / "a.txt").write_text("a\n")
        stages, input_bytes = await desk.submissions.plan(record)
        assert ([stage.tasks for stage in stages], input_bytes) == ([1, 1], 2)
        # Whoever plans it once more, such as the next master, finds that plan.
        (tmp_path / "later" / "b.txt").write_text("b\n" * 100)
        assert await desk.submissions.plan(record) == (stages, input_bytes)

    run(tmp_path, act)


def test_of_two_masters_that_plan_a_job_the_first_decides(tmp_path: Path) -> None:
    storage, state_uri = MemoryStorage(), "mem://space/state"
    splits = tuple(Split((Piece(f"mem://in/{n}", "1", 0, 1, 1, "in"),)) for n in range(2))
    plans, others = Plans(storage, state_uri), Plans(storage, state_uri)

    def make() -> Plan:
        others.store("job", Plan(splits[:1], 1, 1))  # by the other one, in this very moment
        return Plan(splits, 1, 2)

    assert plans.settle("job", make).splits == plans.splits("job") == splits[:1]
    plans.retain(())
    with pytest.raises(KeyError):
        plans.splits("job")


def test_a_job_that_is_not_known_is_not_waited_for(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        with pytest.raises(UnknownJobError, match="to run after wc-1, but no job wc-1 is known"):
            await desk.submit(waiting_spec(tmp_path, "wc-1"))
        assert not (tmp_path / "out").exists()

    run(tmp_path, act)


def test_a_job_that_waited_needs_room_for_its_tasks_alone(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        first = await desk.submit(spec_of(tmp_path, "first"), "first")
        record = desk.shell.machine.cluster.job(await desk.submit(waiting_spec(tmp_path, first)))
        assert record is not None
        later = tmp_path / "later"
        later.mkdir()
        (later / "a.txt").write_text("a\n")
        with pytest.raises(UnavailableError, match="no room for 2 more tasks before other jobs"):
            await desk.submissions.plan(record)
        desk.shell.machine.cluster.limits = Limits(live_tasks_max=4, live_jobs_max=2)
        assert await desk.submissions.plan(record)
        desk.shell.machine.cluster.limits = Limits(live_tasks_max=1)
        with pytest.raises(UsageError, match="The job has 2 tasks"):
            await desk.submissions.plan(record)

    run(tmp_path, act, limits=Limits(live_tasks_max=3))


def test_a_plan_is_cut_for_the_workers_that_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "REJOIN_SECONDS", 20.0)
    slots: list[int] = []

    def make_plan(spec: JobSpec, known: int) -> Plan:
        slots.append(known)
        return Plan((), 1, 0)

    async def act(desk: Desk) -> None:
        first = await desk.submit(spec_of(tmp_path, "first"), "first")
        record = desk.shell.machine.cluster.job(await desk.submit(waiting_spec(tmp_path, first)))
        assert record is not None
        slots.clear()
        planning = asyncio.create_task(desk.submissions.plan(record))
        await asyncio.sleep(0)
        assert not slots
        await desk.shell.send(Synced("w1", 1, 0, desk.shell.machine.cluster.epoch, slots=7))
        await planning
        assert slots == [7]

    monkeypatch.setattr("mrcore.tasks.plan.make_plan", make_plan)
    run(tmp_path, act)
