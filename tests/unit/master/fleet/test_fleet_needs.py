"""Machines for work that needs labels, CPUs or memory: only as many as can run it."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from mrcore.cost.core.ledger import Ledger
from mrcore.cost.prices import load_prices
from mrcore.master.core.events import CallsSent, Submitted
from mrcore.master.core.facts import EpochTaken
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.fleet import observe
from mrcore.master.fleet.cloud import CloudSnapshot
from mrcore.master.fleet.core.model import Action, Decision, FleetSnapshot, Grow
from mrcore.master.fleet.core.policy import decide
from mrcore.master.fleet.status import FleetStatus
from mrcore.master.shell.job_messages import note_with_fleet
from mrcore.model.calls import CallPlan
from mrcore.model.ids import TaskId
from mrcore.model.job import Resources, Session
from mrcore.model.stages import Calls, Result, StagePlan
from tests.support.fleet_sights import BOUNDS, NOW, SPOT, WORKED, group, info, snapshot, up, work
from tests.support.specs import call_spec

GIB = 1 << 30
GPU = Resources(labels=("gpu",))


def decision(seen: FleetSnapshot) -> Decision:
    return decide(seen, WORKED, BOUNDS, NOW)


def actions(seen: FleetSnapshot) -> list[Action]:
    return decision(seen).actions


def test_no_machine_is_made_for_a_label_that_it_will_lack() -> None:
    seen = snapshot(jobs=(work(7, needs=GPU), work(3, job_id="other")))
    assert decision(seen).actions == [Grow(SPOT, 2)], "for the other job"
    assert decision(seen).unfit == {
        "wc-1": "the fleet makes no machine for it, as its machines (e2-standard-2) have 2 CPUs "
        "and no labels"
    }
    labelled = info("a", 2, offers=Resources(cpus=2.0, labels=("gpu",)))
    joined = snapshot(group(up("a")), workers=(labelled,), jobs=(work(7, needs=GPU),))
    assert decision(joined).actions == [Grow(SPOT, 4)]
    assert decision(joined).unfit == {}


@pytest.mark.parametrize(
    ("needs", "machines"),
    [
        (Resources(cpus=0.5), 4),  # slots are fewer than what the CPUs would carry
        (Resources(cpus=1.5), 7),
        (Resources(cpus=2.0), 7),
        (Resources(cpus=2.5), 0),
        (Resources(memory_bytes=4 * GIB), 4),
        (Resources(memory_bytes=5 * GIB), 7),
        (Resources(memory_bytes=9 * GIB), 0),
    ],
)
def test_machines_are_counted_by_the_cpus_and_the_memory_of_tasks(
    needs: Resources, machines: int
) -> None:
    spot = replace(group(), memory_bytes=8 * GIB)
    for seen in (
        snapshot(spot, jobs=(work(7, needs=needs),)),  # by the machine type
        snapshot(group(up("a")), workers=(info("a", 1),), jobs=(work(7, needs=needs),)),
    ):
        grown = [action.size for action in actions(seen) if isinstance(action, Grow)]
        assert grown == [machines] * (machines > 0)
        assert (machines == 0) == bool(decision(seen).unfit)


def test_shares_of_machines_are_added_before_they_are_rounded() -> None:
    jobs = (work(1), work(1, job_id="a", needs=Resources(cpus=1.0)))
    assert actions(snapshot(jobs=jobs)) == [Grow(SPOT, 1)]


def test_no_machine_is_made_without_a_group() -> None:
    found = decision(FleetSnapshot(groups={}, jobs=(work(2, needs=GPU), work(2, job_id="a"))))
    assert (found.actions, found.unfit) == ([], {})
    assert found.notes[0].startswith("The cluster has no group")


def test_memory_that_is_not_known_is_taken_to_be_enough() -> None:
    seen = snapshot(jobs=(work(2, needs=Resources(memory_bytes=1 << 50)),))
    assert actions(seen) == [Grow(SPOT, 1)]


def test_the_offers_of_a_worker_elsewhere_do_not_count() -> None:
    laptop = info("laptop", offers=Resources(cpus=64.0, memory_bytes=1 << 40, labels=("gpu",)))
    seen = snapshot(workers=(laptop,), jobs=(work(2, needs=GPU),))
    assert actions(seen) == []
    assert list(decision(seen).unfit) == ["wc-1"]


def test_calls_that_wait_for_values_call_for_no_machine() -> None:
    machine = Machine(Limits(), Random(0))
    machine.apply(EpochTaken(1, "writer", 0.0))
    machine.take_over(1, 0.0, 0.0)
    needs = Resources(cpus=2.0, labels=("gpu",))
    spec = call_spec("s", Session(retries=0), resources=needs)
    stages = (StagePlan(0, Calls(), Result()),)
    machine.step(
        Submitted(job_id="s", request_id="r", spec=spec, stages=stages, claim_generation=""), 0.0
    )
    first = CallPlan("0" * 64)
    taker = CallPlan("0" * 64, needs=(TaskId("s", 0, 0),))
    machine.step(CallsSent("s", 0, (first, taker, taker)), 0.0)
    seen = observe.snapshot(
        machine,
        CloudSnapshot(),
        Ledger(load_prices()),
        observe.SizeRequest(),
        busy=False,
        durable=True,
    )
    (found,) = seen.jobs
    assert (found.tasks, found.needs) == (1, needs)
    fleet = FleetStatus(note="0 of 4 workers have joined", unfit={"s": "no machine fits"})
    assert note_with_fleet(machine, fleet, "s", "waiting") == "waiting; no machine fits"
    assert note_with_fleet(machine, fleet, "other", "waiting") == (
        "0 of 4 workers have joined; waiting"
    )
