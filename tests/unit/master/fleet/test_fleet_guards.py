"""Runs of events that need one guard of the fleet's policy each."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from mrcore.master.fleet.core.model import (
    JOIN_SECONDS,
    LINGER_SECONDS,
    Action,
    Bounds,
    CapacityState,
    Delete,
    DeleteGroup,
    Drain,
    FleetSnapshot,
    Grow,
    Memory,
)
from mrcore.master.fleet.core.policy import decide
from tests.support.fleet_sights import (
    BOUNDS,
    NOW,
    SPOT,
    STANDARD,
    STOCKOUT,
    WORKED,
    creating,
    group,
    info,
    snapshot,
    up,
    work,
)
from tests.support.repository import ROOT

LIMITED = replace(BOUNDS, max_cost=1.0)
PAUSED = CapacityState(paused_until=NOW + 100)


def memory(**known: Any) -> Memory:
    """Return the memory of a cluster that has worked."""
    return Memory(began_seconds=1, worked=True, **known)


def actions(seen: FleetSnapshot, known: Memory = WORKED, bounds: Bounds = BOUNDS) -> list[Action]:
    return decide(seen, known, bounds, NOW).actions


def notes(seen: FleetSnapshot, known: Memory = WORKED, bounds: Bounds = BOUNDS) -> list[str]:
    return decide(seen, known, bounds, NOW).notes


def test_guards_name_tests_that_are_there() -> None:
    folder = ROOT / "tests/unit/master/fleet"
    there = set(re.findall(r"def (test_\w+)", "".join(p.read_text() for p in folder.glob("*.py"))))
    core = "".join(path.read_text() for path in (ROOT / "master/fleet/core").glob("*.py"))
    named = re.findall(r"\(test: (\w+)\)", core)
    assert len(named) > 50
    assert set(named) <= there


# -- memory --------------------------------------------------------------------------------------


def test_a_worker_that_leaves_is_remembered_once() -> None:
    seen = snapshot(group(up("a")), workers=(info("a", 1, draining=True),), jobs=(work(1),))
    first = decide(seen, WORKED, BOUNDS, NOW)
    assert decide(seen, first.memory, BOUNDS, NOW + 5).memory.leaving == ["a"]


def test_a_worker_outside_the_groups_is_left_alone() -> None:
    known = memory(free={"laptop": 1.0}, draining=["laptop"], surplus_seconds=1.0)
    assert actions(snapshot(workers=(info("laptop"),)), known) == []


def test_only_a_worker_of_the_groups_forgives_failed_joins() -> None:
    strange = snapshot(workers=(info("laptop", 2),), jobs=(work(16),))
    assert actions(strange, memory(failed_joins=3)) == [Grow(SPOT, 1)]
    own = snapshot(group(up("a")), workers=(info("a", 2),), jobs=(work(16),))
    assert actions(own, memory(failed_joins=3)) == [Grow(SPOT, 8)]


def test_machines_that_are_gone_are_forgotten() -> None:
    known = memory(
        last_seen={"a": NOW}, draining=["a"], leaving=["a"], deleted={"a": "left"}, free={"a": 1.0}
    )
    assert decide(snapshot(), known, BOUNDS, NOW).memory == with_capacity(memory(idle_seconds=NOW))


def with_capacity(known: Memory) -> Memory:
    """Fill in the capacity that every first look makes."""
    for model in (SPOT, STANDARD):
        known.capacity[model] = CapacityState(newest_error_seconds=1)
    return known


def test_a_worker_that_was_away_lingers_anew() -> None:
    known = memory(free={"a": NOW - 1000}, last_seen={"a": NOW - 5})
    away = decide(snapshot(group(up("a"))), known, BOUNDS, NOW)
    assert away.actions == []
    back = snapshot(group(up("a")), workers=(info("a"),))
    assert decide(back, away.memory, BOUNDS, NOW + 5).actions == []


def test_the_size_that_was_found_outlives_a_preemption() -> None:
    assert actions(snapshot(group(up("a"))), Memory(adopted=2)) == [Grow(SPOT, 2)]


def test_a_notice_is_shown_until_its_time_is_over() -> None:
    decision = decide(snapshot(), memory(notices={"old": NOW, "new": NOW + 1}), BOUNDS, NOW)
    assert decision.notes == ["new"]


# -- limits --------------------------------------------------------------------------------------


JOINED = snapshot(group(up("a")), workers=(info("a", 2),), jobs=(work(2, seconds=1.0),))


def test_below_the_spend_limit_nobody_is_warned() -> None:
    assert notes(replace(JOINED, dollars=0.5), bounds=LIMITED) == []


def test_a_deadline_that_can_be_met_is_not_mentioned() -> None:
    assert notes(JOINED, bounds=replace(BOUNDS, deadline_seconds=1000.0)) == []


def test_beyond_the_spend_limit_jobs_fail_once() -> None:
    seen = snapshot(group(up("a")), dollars=1.0)
    assert actions(seen, bounds=LIMITED) == [Delete(SPOT, ("a",))]


def test_beyond_the_spend_limit_a_machine_that_goes_is_not_deleted_again() -> None:
    seen = snapshot(group(replace(up("a"), action="DELETING"), up("b"), size=1), dollars=1.0)
    assert actions(seen, bounds=LIMITED) == [Delete(SPOT, ("b",))]


def test_beyond_the_spend_limit_an_idle_cluster_still_ends() -> None:
    bounds = replace(LIMITED, idle_timeout_seconds=100.0)
    seen = snapshot(group(up("a")), dollars=1.0)
    decision = decide(seen, memory(idle_seconds=NOW - 100), bounds, NOW)
    assert decision.actions == [DeleteGroup(SPOT), DeleteGroup(STANDARD)]
    assert decision.ending


def test_machines_that_go_with_their_group_are_known_as_deleted() -> None:
    bounds = replace(BOUNDS, idle_timeout_seconds=100.0)
    decision = decide(snapshot(group(up("a"))), memory(idle_seconds=NOW - 100), bounds, NOW)
    assert decision.memory.deleted == {"a": "idle"}


# -- useless machines ----------------------------------------------------------------------------


def test_the_first_reason_of_a_deletion_is_kept() -> None:
    known = memory(deleted={"a": "released"})
    decision = decide(snapshot(group(up("a"))), known, BOUNDS, NOW)
    assert decision.memory.deleted == {"a": "released"}


@pytest.mark.parametrize("other", [True, False])
def test_machines_stay_asked_for_where_the_other_model_is_not_to_be_had(other: bool) -> None:
    seen = FleetSnapshot(groups={SPOT: group(creating("a", STOCKOUT))}, jobs=(work(2),))
    if other:
        seen.groups[STANDARD] = group()
    known = memory(capacity={SPOT: PAUSED, STANDARD: PAUSED} if other else {SPOT: PAUSED})
    assert actions(seen, known) == []


def test_a_fallback_is_noted_once() -> None:
    seen = snapshot(group(creating("a", STOCKOUT)), jobs=(work(2),))
    decision = decide(seen, memory(capacity={SPOT: PAUSED}), BOUNDS, NOW)
    assert decision.actions == [Delete(SPOT, ("a",)), Grow(STANDARD, 1)]
    assert decision.memory.notices == {}


def test_a_machine_that_was_made_after_all_is_kept() -> None:
    made = replace(up("a"), errors=(STOCKOUT,))
    seen = snapshot(group(made), workers=(info("a", 1),), jobs=(work(2),))
    assert actions(seen, memory(capacity={SPOT: PAUSED})) == []


def test_a_shortage_counts_machines_without_a_name_or_an_error() -> None:
    known = memory(capacity={SPOT: CapacityState(error=STOCKOUT)})
    retried = snapshot(group(creating("a")), jobs=(work(2),))
    assert notes(retried, known)[0].startswith("1 spot e2-standard-2 machine is")
    nameless = snapshot(group(size=3), jobs=(work(6),))
    assert notes(nameless, known)[0].startswith("3 spot e2-standard-2 machines are")


def test_a_new_machine_that_is_preempted_is_deleted_at_once() -> None:
    seen = snapshot(group(replace(up("a", NOW - 20), exists=False)), jobs=(work(2),))
    assert actions(seen) == [Delete(SPOT, ("a",))]


def test_a_lost_deletion_is_repeated_while_the_worker_still_reports() -> None:
    seen = snapshot(group(up("a", NOW - 20)), workers=(info("a"),), jobs=(work(2),))
    assert actions(seen, memory(deleted={"a": "left"})) == [Delete(SPOT, ("a",))]


def test_a_worker_that_is_silent_for_a_moment_keeps_its_machine() -> None:
    seen = snapshot(group(up("a", NOW - 5000)), jobs=(work(2),))
    assert actions(seen, memory(last_seen={"a": NOW - 30})) == []


def test_a_worker_that_was_lost_is_not_a_failed_join() -> None:
    seen = snapshot(group(up("a", NOW - 5000)), jobs=(work(2),))
    decision = decide(seen, memory(last_seen={"a": NOW - JOIN_SECONDS}), BOUNDS, NOW)
    assert decision.actions == [Delete(SPOT, ("a",))]
    assert decision.memory.failed_joins == 0
    assert decision.memory.deleted == {"a": "lost"}
    told = "The worker of a had joined and was lost: it was silent for "
    assert any(note.startswith(told) for note in decision.notes), decision.notes
    assert not any("did not join" in note for note in decision.notes)


def test_a_machine_whose_worker_has_left_is_given_time_to_power_off() -> None:
    known = memory(leaving=["a"], last_seen={"a": NOW - 10})
    seen = snapshot(group(up("a")), jobs=(work(2),))
    assert decide(seen, known, BOUNDS, NOW).actions == [Grow(SPOT, 2)]
    later = decide(seen, known, BOUNDS, NOW + LINGER_SECONDS)
    assert later.actions == [Delete(SPOT, ("a",))]


def test_a_drained_machine_is_released_also_after_a_long_time_without_a_look() -> None:
    known = memory(draining=["a"], last_seen={"a": NOW - JOIN_SECONDS})
    decision = decide(snapshot(group(up("a"))), known, BOUNDS, NOW)
    assert decision.memory.deleted == {"a": "released"}
    assert decision.notes == []


# -- size ----------------------------------------------------------------------------------------


def test_a_machine_that_leaves_by_itself_is_replaced_at_once() -> None:
    workers = (info("a", 1, draining=True), info("b", 2))
    seen = snapshot(group(up("a"), up("b")), workers=workers, jobs=(work(4),))
    assert actions(seen) == [Grow(SPOT, 3)]


@pytest.mark.parametrize("action", ["DELETING", "ABANDONING"])
def test_machines_on_their_way_out_do_no_work_but_count_for_the_most(action: str) -> None:
    going = [replace(up(f"m{i}"), action=action) for i in range(8)]
    assert actions(snapshot(group(*going, size=0), jobs=(work(2),))) == []
    assert actions(snapshot(group(*going[1:], size=0), jobs=(work(2),))) == [Grow(SPOT, 1)]


@pytest.mark.parametrize("action", ["CREATING", "CREATING_WITHOUT_RETRIES", "RECREATING"])
def test_a_machine_that_is_being_made_is_waited_for(action: str) -> None:
    made = replace(creating("a"), action=action)
    assert actions(snapshot(group(made), jobs=(work(2),))) == []


def test_a_size_that_fell_before_the_list_does_not_hide_machines() -> None:
    workers = (info("a", 2), info("b", 2))
    seen = snapshot(group(up("a"), up("b"), size=1), workers=workers, jobs=(work(4),))
    assert actions(seen) == []


def test_each_surplus_has_to_last_anew() -> None:
    booting = group(up("a", NOW - 20))
    known = memory(surplus_seconds=NOW - LINGER_SECONDS + 5)
    needed = decide(snapshot(booting, jobs=(work(2),)), known, BOUNDS, NOW)
    assert decide(snapshot(booting), needed.memory, BOUNDS, NOW + 10).actions == []


def test_no_more_failing_machines_are_deleted_than_are_too_many() -> None:
    failing = group(*(creating(name, STOCKOUT) for name in "abc"))
    assert actions(snapshot(failing, jobs=(work(4),))) == [Delete(SPOT, ("a",))]


def test_a_machine_is_not_counted_twice_as_too_many() -> None:
    known = memory(capacity={SPOT: PAUSED}, free={"d": 1.0, "e": 2.0})
    workers = (info("d"), info("e"))
    dear = group(up("d"), up("e"))
    seen = snapshot(group(creating("m", STOCKOUT)), dear, workers=workers, jobs=(work(2),))
    assert actions(seen, known) == [Drain("d-0", "d"), Delete(SPOT, ("m",))]


def test_no_more_booting_machines_are_deleted_than_are_too_many() -> None:
    booting = group(up("a", NOW - 30), up("b", NOW - 20), up("c", NOW - 10))
    seen = snapshot(booting, jobs=(work(2),))
    known = memory(surplus_seconds=NOW - LINGER_SECONDS)
    assert actions(seen, known) == [Delete(SPOT, ("c", "b"))]


@pytest.mark.parametrize(("count", "jobs"), [(2, 4), (8, 100)])
def test_the_spend_limit_is_not_named_where_it_is_not_the_reason(count: int, jobs: int) -> None:
    members = [up(f"m{i}") for i in range(count)]
    workers = tuple(info(m.name, 2, draining=count == 8 and m.name == "m0") for m in members)
    seen = snapshot(group(*members), workers=workers, jobs=(work(jobs),), dollars=0.07)
    decision = decide(seen, WORKED, replace(BOUNDS, max_cost=0.1), NOW)
    assert decision.actions == []
    assert not any("No more workers" in note for note in decision.notes)


def test_a_high_spend_limit_makes_no_more_workers_than_the_work_needs() -> None:
    assert actions(snapshot(jobs=(work(4),)), bounds=replace(BOUNDS, max_cost=100.0)) == [
        Grow(SPOT, 2)
    ]


def test_after_failed_joins_a_machine_without_a_name_is_waited_for() -> None:
    seen = snapshot(group(size=1), jobs=(work(16),))
    assert actions(seen, memory(failed_joins=3)) == []


def test_where_nothing_is_to_be_had_spot_is_asked_for() -> None:
    known = memory(capacity={SPOT: PAUSED, STANDARD: PAUSED})
    assert actions(snapshot(jobs=(work(2),)), known) == [Grow(SPOT, 1)]


def test_people_hear_of_missing_groups_and_workers_only_where_they_wait_for_them() -> None:
    assert notes(FleetSnapshot(groups={})) == []
    assert notes(snapshot(), bounds=replace(BOUNDS, min_workers=1)) == []
    seen = snapshot(group(up("a")), workers=(info("a", 2),), jobs=(work(2),))
    assert notes(seen) == []


# -- demand --------------------------------------------------------------------------------------


def test_the_slots_of_the_usual_worker_count() -> None:
    three = group(up("a"), up("b"), up("c"))
    workers = (info("a", 2), info("b", 2), info("c", 2, slots=8))
    assert actions(snapshot(three, workers=workers, jobs=(work(8),))) == [Grow(SPOT, 4)]
    slotless = (info("a", slots=0),)
    assert actions(snapshot(group(up("a")), workers=slotless, jobs=(work(4),))) == [Grow(SPOT, 2)]


def test_a_maximum_below_the_minimum_holds() -> None:
    seen = replace(snapshot(), max_workers=2)
    assert actions(seen, bounds=replace(BOUNDS, min_workers=4)) == [Grow(SPOT, 2)]


@pytest.mark.parametrize(
    ("tasks", "seconds", "workers"), [(7, None, 4), (3, 0.0, 1), (1, 4000.0, 1)]
)
def test_a_deadline_is_planned_with_what_is_known(
    tasks: int, seconds: float | None, workers: int
) -> None:
    bounds = replace(BOUNDS, deadline_seconds=1000.0)
    seen = snapshot(jobs=(work(tasks, seconds=seconds),))
    assert actions(seen, bounds=bounds) == [Grow(SPOT, workers)]


def test_machines_of_unknown_price_are_made_below_the_spend_limit() -> None:
    unknown = replace(group(), hour_dollars=0.0)
    assert actions(snapshot(unknown, jobs=(work(4),)), bounds=LIMITED) == [Grow(SPOT, 2)]
