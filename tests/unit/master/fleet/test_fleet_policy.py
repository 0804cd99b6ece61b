"""The fleet's policy, one situation at a time: what is seen goes in, what to do comes out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mrcore.master.fleet.core.messages import described
from mrcore.master.fleet.core.model import (
    JOIN_SECONDS,
    LINGER_SECONDS,
    PAUSE_SECONDS,
    ROUND_SECONDS,
    Action,
    Bounds,
    CapacityState,
    Decision,
    Delete,
    DeleteGroup,
    Drain,
    End,
    FailJobs,
    FleetSnapshot,
    Group,
    Grow,
    Memory,
    ProvisioningError,
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


def actions(seen: FleetSnapshot, memory: Memory = WORKED, bounds: Bounds = BOUNDS) -> list[Action]:
    return decide(seen, memory, bounds, NOW).actions


# -- size ----------------------------------------------------------------------------------------


def test_workers_are_made_for_what_is_queued() -> None:
    assert actions(snapshot(jobs=(work(7),))) == [Grow(SPOT, 4)]


def test_no_more_than_max_workers_are_made() -> None:
    assert actions(snapshot(jobs=(work(1000),))) == [Grow(SPOT, 8)]


def test_what_is_on_its_way_is_not_asked_for_again() -> None:
    half = group(creating("a"), creating("b"), size=4)
    assert actions(snapshot(half, jobs=(work(8),))) == []


def test_the_slots_of_workers_that_have_joined_are_believed() -> None:
    seen = snapshot(group(up("a")), workers=(info("a", 4, slots=4),), jobs=(work(12),))
    assert actions(seen) == [Grow(SPOT, 3)]


def test_leaving_machines_count_for_the_most_but_not_for_the_work() -> None:
    members = tuple(up(f"m{i}") for i in range(8))
    workers = tuple(info(member.name, 2, draining=member.name == "m0") for member in members)
    memory = Memory(began_seconds=1, worked=True, draining=["m0"])
    seen = snapshot(group(*members), workers=workers, jobs=(work(100),))
    assert actions(seen, memory) == []
    roomy = replace(BOUNDS, max_workers=9)
    assert actions(seen, memory, roomy) == [Grow(SPOT, 9)]


def test_min_workers_are_kept_without_work() -> None:
    bounds = replace(BOUNDS, min_workers=2)
    assert actions(snapshot(), bounds=bounds) == [Grow(SPOT, 2)]


def test_bounds_that_were_changed_since_count() -> None:
    seen = replace(snapshot(jobs=(work(1000),)), max_workers=3)
    assert actions(seen) == [Grow(SPOT, 3)]


def test_the_size_that_was_found_is_kept_until_a_job_comes() -> None:
    seen = snapshot(group(up("a"), up("b")), workers=(info("a"), info("b")))
    memory = Memory()
    for later in (0.0, 500.0):
        decision = decide(seen, memory, BOUNDS, NOW + later)
        assert decision.actions == []
        memory = decision.memory
    busy = replace(seen, jobs=(work(1),), workers=(info("a", 1), info("b")))
    decision = decide(busy, memory, BOUNDS, NOW + 600)
    assert decision.actions == [Drain("b-0", "b")]


def test_without_groups_people_hear_of_it() -> None:
    decision = decide(FleetSnapshot(groups={}, jobs=(work(4),)), WORKED, BOUNDS, NOW)
    assert decision.actions == []
    assert "`mrcore gce up` makes the groups" in decision.notes[0]


# -- shrinking -----------------------------------------------------------------------------------


def test_idle_workers_are_released_while_a_straggler_runs() -> None:
    members = [up("a"), up("b"), up("c")]
    seen = snapshot(group(*members), workers=(info("a"), info("b", 1), info("c")), jobs=(work(1),))
    first = decide(seen, WORKED, BOUNDS, NOW)
    assert first.actions == []
    later = decide(seen, first.memory, BOUNDS, NOW + LINGER_SECONDS)
    assert later.actions == [Drain("a-0", "a"), Drain("c-0", "c")]


def test_a_machine_is_deleted_once_its_worker_has_left() -> None:
    memory = Memory(began_seconds=1, worked=True, draining=["a"])
    asked = snapshot(group(up("a"), up("b")), workers=(info("a"), info("b", 1)), jobs=(work(1),))
    assert actions(asked, memory) == [Drain("a-0", "a")]
    leaves = replace(asked, workers=(info("a", 1, draining=True), info("b", 1)))
    assert actions(leaves, memory) == []
    done = replace(asked, workers=(info("a", draining=True), info("b", 1)))
    left = replace(asked, workers=(info("b", 1),))
    assert actions(done, memory) == actions(left, memory) == [Delete(SPOT, ("a",))]


def test_a_deletion_that_was_lost_is_repeated() -> None:
    memory = Memory(began_seconds=1, worked=True, deleted={"a": "released"})
    assert actions(snapshot(group(up("a"))), memory) == [Delete(SPOT, ("a",))]


def test_a_machine_that_goes_is_not_deleted_again() -> None:
    memory = Memory(began_seconds=1, worked=True, deleted={"a": "released"})
    going = replace(up("a"), action="DELETING")
    assert actions(snapshot(group(going, size=0)), memory) == []


def test_dear_machines_go_first() -> None:
    seen = snapshot(group(up("s")), group(up("d")), workers=(info("s"), info("d")), jobs=(work(1),))
    memory = Memory(began_seconds=1, worked=True, free={"s": 1.0, "d": 2.0})
    assert actions(seen, memory) == [Drain("d-0", "d")]


def test_machines_that_still_boot_are_deleted_when_their_work_is_gone_for_a_while() -> None:
    seen = snapshot(group(up("a", NOW - 20)))
    first = decide(seen, WORKED, BOUNDS, NOW)
    assert first.actions == []
    later = decide(seen, first.memory, BOUNDS, NOW + LINGER_SECONDS)
    assert later.actions == [Delete(SPOT, ("a",))]


# -- machines that are lost ----------------------------------------------------------------------


def test_a_preempted_machine_is_deleted_and_then_replaced() -> None:
    dead = replace(up("a"), exists=False)
    seen = snapshot(group(dead, up("b")), workers=(info("b", 2),), jobs=(work(4),))
    first = decide(seen, WORKED, BOUNDS, NOW)
    assert first.actions == [Delete(SPOT, ("a",))]
    after = snapshot(group(up("b")), workers=(info("b", 2),), jobs=(work(4),))
    assert decide(after, first.memory, BOUNDS, NOW + 5).actions == [Grow(SPOT, 2)]


def test_a_group_that_repairs_by_itself_is_left_to_it() -> None:
    again = replace(up("a"), exists=False, action="RECREATING")
    assert actions(snapshot(group(again), jobs=(work(2),))) == []


def test_a_machine_that_never_joins_is_deleted_and_its_boot_log_named() -> None:
    seen = snapshot(group(up("a", NOW)), jobs=(work(1),))
    early = decide(seen, WORKED, BOUNDS, NOW + JOIN_SECONDS - 1)
    assert early.actions == []
    decision = decide(seen, WORKED, BOUNDS, NOW + JOIN_SECONDS)
    assert decision.actions == [Delete(SPOT, ("a",))]
    assert any("a did not join" in note for note in decision.notes)
    assert any("gs://b/logs/a/boot.log" in note for note in decision.notes)
    assert decision.memory.deleted == {"a": "not joined"}


def test_a_new_master_gives_the_workers_it_finds_time_to_come() -> None:
    seen = snapshot(group(up("a", NOW - 5 * JOIN_SECONDS)), jobs=(work(1),))
    assert actions(seen, Memory(worked=True)) == []


def test_after_machines_that_never_joined_they_are_made_one_at_a_time() -> None:
    memory = Memory(began_seconds=1, worked=True, failed_joins=3)
    assert actions(snapshot(jobs=(work(16),)), memory) == [Grow(SPOT, 1)]
    seen = snapshot(group(creating("a")), jobs=(work(16),))
    decision = decide(seen, memory, BOUNDS, NOW)
    assert decision.actions == []
    assert any("boot logs in gs://b/logs" in note for note in decision.notes)


# -- capacity ------------------------------------------------------------------------------------


def stuck(size: int, at: float) -> Group:
    error = replace(STOCKOUT, at_seconds=at)
    return group(*(creating(f"m{i}", error) for i in range(size)))


def test_a_stockout_is_told_at_once_with_place_and_machine_type() -> None:
    decision = decide(snapshot(stuck(3, NOW), jobs=(work(6),)), WORKED, BOUNDS, NOW)
    assert decision.actions == []
    (note,) = decision.notes
    assert note == (
        "3 spot e2-standard-2 machines are not to be had in us-a (stockout). The master tries "
        "again, attempt 1 of 3 before on-demand machines are asked for."
    )


def test_a_quota_is_told_as_the_users_own() -> None:
    over = ProvisioningError(code="QUOTA_EXCEEDED", message="Quota 'CPUS' exceeded", zone="us-a")
    decision = decide(snapshot(group(creating("a", over)), jobs=(work(2),)), WORKED, BOUNDS, NOW)
    assert decision.notes[0].startswith(
        "1 spot e2-standard-2 machine in us-a is over the quota (Quota 'CPUS' exceeded). Ask for "
        "more quota or lower --max-workers"
    )


def fall_back() -> tuple[Decision, float]:
    """Let spot fail as often as is allowed; return the decision that gives it up, and when."""
    memory, now = WORKED, NOW
    for _ in range(BOUNDS.spot_attempts):
        now += ROUND_SECONDS
        decision = decide(snapshot(stuck(3, now), jobs=(work(6),)), memory, BOUNDS, now)
        memory = decision.memory
    return decision, now


def test_after_the_attempts_machines_are_made_on_demand() -> None:
    decision, now = fall_back()
    assert decision.actions == [Delete(SPOT, ("m0", "m1", "m2")), Grow(STANDARD, 3)]
    assert any("On-demand ones are asked for instead" in note for note in decision.notes)
    after = snapshot(None, group(creating("a"), size=3), jobs=(work(6),))
    assert decide(after, decision.memory, BOUNDS, now + 5).actions == []


def test_one_stockout_of_many_machines_is_one_attempt() -> None:
    memory = WORKED
    for later in range(3):
        now = NOW + later
        decision = decide(snapshot(stuck(3, now), jobs=(work(6),)), memory, BOUNDS, now)
        memory = decision.memory
    assert memory.capacity[SPOT].failures == 1


def test_machines_that_can_be_had_again_forgive_the_failures() -> None:
    memory = Memory(began_seconds=1, worked=True, capacity={SPOT: CapacityState(failures=2)})
    seen = snapshot(group(up("a")), workers=(info("a", 2),), jobs=(work(2),))
    assert decide(seen, memory, BOUNDS, NOW).memory.capacity[SPOT].failures == 0


def test_spot_is_tried_again_after_the_pause_and_then_longer_not() -> None:
    decision, now = fall_back()
    now += PAUSE_SECONDS + 5
    again = decide(snapshot(jobs=(work(6),)), decision.memory, BOUNDS, now)
    assert again.actions == [Grow(SPOT, 3)]
    assert again.memory.capacity[SPOT].pause_seconds == 2 * PAUSE_SECONDS


def test_on_demand_machines_give_way_to_spot_ones_a_few_at_a_time() -> None:
    capacity = CapacityState(paused_until=NOW - 1)
    memory = Memory(began_seconds=1, worked=True, capacity={SPOT: capacity})
    dear = group(up("a"), up("b"), up("c"))
    workers = (info("a", 2), info("b", 1), info("c", 2))
    seen = snapshot(None, dear, workers=workers, jobs=(work(6),))
    first = decide(seen, memory, BOUNDS, NOW)
    assert first.actions == [Drain("b-0", "b"), Grow(SPOT, 1)]
    leaving = replace(seen, workers=(info("a", 2), info("b", 1, draining=True), info("c", 2)))
    waits = replace(leaving, groups={SPOT: group(creating("n")), STANDARD: dear})
    assert decide(waits, first.memory, BOUNDS, NOW + 9).actions == []


def test_without_a_pause_before_on_demand_machines_stay() -> None:
    seen = snapshot(None, group(up("a")), workers=(info("a", 2),), jobs=(work(2),))
    assert actions(seen) == []


# -- money and time ------------------------------------------------------------------------------


def test_the_spend_limit_warns_first() -> None:
    bounds = replace(BOUNDS, max_cost=1.0)
    seen = snapshot(group(up("a")), workers=(info("a", 2),), jobs=(work(2),), dollars=0.85)
    decision = decide(seen, WORKED, bounds, NOW)
    assert decision.actions == []
    assert "$0.85 of the $1.00" in decision.notes[0]


def test_at_the_spend_limit_jobs_fail_and_all_workers_go() -> None:
    bounds = replace(BOUNDS, max_cost=1.0)
    seen = snapshot(group(up("a")), workers=(info("a", 2),), jobs=(work(2),), dollars=1.0)
    fail, release = decide(seen, WORKED, bounds, NOW).actions
    assert isinstance(fail, FailJobs)
    assert "Raise --max-cost" in fail.message
    assert release == Delete(SPOT, ("a",))


def test_no_worker_is_made_that_the_spend_limit_does_not_carry() -> None:
    bounds = replace(BOUNDS, max_cost=1.0)
    # Ten minutes of a machine are 0.1 / 6 dollars.
    seen = snapshot(jobs=(work(16),), dollars=0.94)
    assert decide(seen, WORKED, bounds, NOW).actions == [Grow(SPOT, 3)]
    assert decide(replace(seen, dollars=0.995), WORKED, bounds, NOW).actions == []


def test_a_deadline_asks_for_no_more_than_it_needs() -> None:
    bounds = replace(BOUNDS, deadline_seconds=1000.0)
    seen = snapshot(jobs=(work(100, seconds=4000.0),))
    assert actions(seen, bounds=bounds) == [Grow(SPOT, 3)]  # 4000 / 800 slots, two a worker


def test_a_deadline_that_cannot_be_met_is_told() -> None:
    bounds = replace(BOUNDS, deadline_seconds=1000.0)
    decision = decide(snapshot(jobs=(work(100, seconds=40_000.0),)), WORKED, bounds, NOW)
    assert decision.actions == [Grow(SPOT, 8)]
    assert any("about 25 workers to meet its deadline" in note for note in decision.notes)
    late = snapshot(jobs=(work(100, seconds=10.0, submitted=NOW - 2000),))
    decision = decide(late, WORKED, bounds, NOW)
    assert decision.actions == [Grow(SPOT, 8)]
    assert any("past its deadline" in note for note in decision.notes)


# -- the end -------------------------------------------------------------------------------------


def test_an_idle_cluster_deletes_its_groups_and_then_itself() -> None:
    bounds = replace(BOUNDS, idle_timeout_seconds=100.0)
    memory = Memory(began_seconds=1, idle_seconds=NOW - 100)
    first = decide(snapshot(group(up("a")), workers=(info("a"),)), memory, bounds, NOW)
    assert first.actions == [DeleteGroup(SPOT), DeleteGroup(STANDARD)]
    assert first.ending
    last = decide(FleetSnapshot(groups={}), first.memory, bounds, NOW + 5)
    assert last.actions == [End()]


@pytest.mark.parametrize("busy", [True, False])
def test_whatever_goes_on_keeps_the_cluster(busy: bool) -> None:
    bounds = replace(BOUNDS, idle_timeout_seconds=100.0)
    memory = Memory(began_seconds=1, idle_seconds=NOW - 1000)
    seen = replace(snapshot(), busy=busy)
    decision = decide(seen, memory, bounds, NOW)
    assert decision.ending is not busy


def test_an_idle_cluster_stays_until_the_end_of_its_last_job_is_durable() -> None:
    bounds = replace(BOUNDS, idle_timeout_seconds=100.0)
    memory = Memory(began_seconds=1, idle_seconds=NOW - 1000)
    waiting = decide(replace(snapshot(), durable=False), memory, bounds, NOW)
    assert not waiting.ending
    assert End() not in waiting.actions
    assert not any(isinstance(action, DeleteGroup) for action in waiting.actions)
    assert any("the journal does not answer yet" in note for note in waiting.notes)
    assert decide(snapshot(), waiting.memory, bounds, NOW + 5).ending, "its idle time counts on"


def test_without_an_idle_timeout_the_cluster_stays() -> None:
    bounds = replace(BOUNDS, idle_timeout_seconds=None)
    memory = Memory(began_seconds=1, worked=True, idle_seconds=1.0)
    assert decide(snapshot(), memory, bounds, NOW).actions == []


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (Grow(SPOT, 4), "asks for 4 spot machines in all"),
        (Drain("a-0", "a"), "asks a-0 to leave"),
        (Delete(STANDARD, ("a", "b")), "deletes on-demand machines: a, b"),
        (DeleteGroup(SPOT), "deletes the group of spot machines"),
        (FailJobs("spent"), "fails all jobs"),
        (End(), "ends: nothing but the master is left"),
    ],
)
def test_the_log_says_in_words_what_is_done(action: Action, words: str) -> None:
    assert described(action) == words
