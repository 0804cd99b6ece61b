"""Size of a fleet: machines beyond those wanted go, and missing ones are made. Pure."""

from __future__ import annotations

from mrcore.master.fleet.core import messages
from mrcore.master.fleet.core.capacity import failing, paused
from mrcore.master.fleet.core.demand import (
    affordable_workers,
    bounds_now,
)
from mrcore.master.fleet.core.model import (
    FAILED_JOINS_MAX,
    LINGER_SECONDS,
    Grow,
    Provisioning,
)
from mrcore.master.fleet.core.turn import Round


def shrink(turn: Round, wanted: int) -> None:
    """Release machines beyond those wanted: never one whose worker holds work."""
    memory, now = turn.memory, turn.now
    surplus = turn.count() - wanted
    # Work that ends and comes again within a minute keeps the machines that boot for it.
    # (test: test_each_surplus_has_to_last_anew)
    if surplus <= 0:
        memory.surplus_seconds = None
        return
    if memory.surplus_seconds is None:
        memory.surplus_seconds = now
    lasting = now - memory.surplus_seconds >= LINGER_SECONDS
    for model in (Provisioning.STANDARD, Provisioning.SPOT):  # the expensive ones first
        # (test: test_one_of_the_groups_may_be_missing)
        group = turn.snapshot.groups.get(model)
        for member in failing(group) if group is not None else ():
            # It may be deleted already, as its model is paused.
            # (test: test_no_more_failing_machines_are_deleted_than_are_too_many)
            # (test: test_a_machine_is_not_counted_twice_as_too_many)
            if surplus > 0 and member in turn.usable(model):
                turn.delete(model, member, "not needed")
                surplus -= 1
    for model in (Provisioning.STANDARD, Provisioning.SPOT):
        # (test: test_the_size_that_was_found_is_kept_until_a_job_comes)
        free = [turn.workers[m.name] for m in turn.usable(model) if m.name in memory.free]
        for info in sorted(free, key=lambda info: (memory.free[info.machine], info.machine)):
            # The next job may come soon. (test: test_dear_machines_go_first)
            # (test: test_idle_workers_are_released_while_a_straggler_runs)
            if surplus > 0 and now - memory.free[info.machine] >= LINGER_SECONDS:
                turn.drain(info)
                surplus -= 1
    for model in (Provisioning.STANDARD, Provisioning.SPOT):
        booting = [m for m in turn.usable(model) if m.name not in turn.workers]
        for member in sorted(booting, key=lambda m: (-m.created_seconds, m.name)):
            # What boots is kept a while too, and no more go than are too many.
            # (test: test_no_more_booting_machines_are_deleted_than_are_too_many)
            if surplus > 0 and lasting:
                turn.delete(model, member, "not needed")
                surplus -= 1


def return_to_spot(turn: Round, wanted: int) -> None:
    """Replace on-demand machines by spot ones, few at a time, once spot may be tried again."""
    spot = turn.snapshot.groups.get(Provisioning.SPOT)
    capacity = turn.memory.capacity[Provisioning.SPOT]
    # A machine that boots has no worker to drain.
    # (test: test_an_on_demand_machine_that_boots_is_not_drained)
    dear = [m.name for m in turn.usable(Provisioning.STANDARD) if m.name in turn.workers]
    # People who made on-demand machines themselves keep them. They may have no spot group.
    # (test: test_one_of_the_groups_may_be_missing)
    # (test: test_without_a_pause_before_on_demand_machines_stay)
    # (test: test_on_demand_machines_stay_while_spot_is_paused)
    if spot is None or not capacity.paused_until or paused(capacity, turn.now):
        return
    # Each batch of spot machines has to prove itself before more capacity is given up for it.
    # (test: test_on_demand_machines_stay_while_a_spot_machine_is_on_its_way)
    # (test: test_on_demand_machines_stay_while_another_one_still_drains)
    waiting = spot.unlisted or any(member.coming for member in spot.members)
    under_way = any(name in turn.workers for name in turn.memory.draining)
    # Missing machines are made as spot anyway. Those of the minimum are exchanged without a job,
    # too: nothing is lost then, and on-demand ones may idle for weeks.
    # (test: test_on_demand_machines_stay_while_workers_are_missing)
    # (test: test_on_demand_machines_of_the_minimum_give_way_without_a_job)
    if waiting or under_way or turn.count() != wanted:
        return
    # Batches double, but machines from before the pause prove nothing.
    # (test: test_spot_machines_from_before_the_pause_do_not_speed_up_the_return)
    joined = [
        m for m in turn.usable(Provisioning.SPOT) if m.created_seconds > capacity.paused_until
    ]
    # (test: test_on_demand_machines_stay_while_a_spot_machine_is_on_its_way)
    if any(member.name not in turn.workers for member in joined):
        return
    # (test: test_on_demand_machines_give_way_to_spot_ones_a_few_at_a_time)
    batch = max(1, len(joined))
    least = sorted(dear, key=lambda name: (turn.workers[name].held, name))
    for name in least[:batch]:
        turn.drain(turn.workers[name])


def grow(turn: Round, wanted: int) -> None:
    """Ask for the machines that are missing, within every bound."""
    groups, memory = turn.snapshot.groups, turn.memory
    _, most = bounds_now(turn.snapshot, turn.bounds)
    missing = wanted - turn.count()
    # Machines that leave still cost money, so they take up room below the most.
    # (test: test_machines_on_their_way_out_do_no_work_but_count_for_the_most)
    room = most - sum(group.size for group in groups.values())
    model = _choose(turn)
    # (test: test_people_hear_of_missing_groups_and_workers_only_where_they_wait_for_them)
    if model is None and missing > 0:
        turn.notes.append(messages.no_groups())
    _note_coming(turn, wanted)
    # The limits below are named only where one of them is the reason.
    # (test: test_the_spend_limit_is_not_named_where_it_is_not_the_reason)
    if missing <= 0 or room <= 0 or model is None:
        return
    group = groups[model]
    more = min(missing, room)
    carried = affordable_workers(turn.snapshot, turn.bounds, group.hour_dollars)
    # The limit may carry many more machines than the work needs, or too few.
    # (test: test_a_high_spend_limit_makes_no_more_workers_than_the_work_needs)
    # (test: test_no_worker_is_made_that_the_spend_limit_does_not_carry)
    if carried is not None and carried < turn.count() + more:
        assert turn.bounds.max_cost is not None
        turn.notes.append(messages.unaffordable(turn.bounds.max_cost))
        more = carried - turn.count()
    # With a broken image no machine ever joins.
    # (test: test_after_machines_that_never_joined_they_are_made_one_at_a_time)
    if memory.failed_joins >= FAILED_JOINS_MAX:
        turn.notes.append(messages.failed_joins(memory.failed_joins, turn.bounds))
        more = min(more, 1 - _unproven(turn))
    # A group that deletes now grows at the next look: its size is about to fall.
    # (test: test_a_preempted_machine_is_deleted_and_then_replaced)
    if more > 0 and not turn.deletes.get(model):
        turn.actions.append(Grow(model, group.target_size + more))


def _unproven(turn: Round) -> int:
    """Return how many machines are there or coming whose worker has not joined."""
    named = [m for model in Provisioning for m in turn.usable(model) if m.name not in turn.workers]
    # (test: test_after_failed_joins_a_machine_without_a_name_is_waited_for)
    return len(named) + sum(group.unlisted for group in turn.snapshot.groups.values())


def _choose(turn: Round) -> Provisioning | None:
    """Return the model to grow: spot, unless it is paused and on-demand is not."""
    there = [model for model in Provisioning if model in turn.snapshot.groups]
    free = [model for model in there if not paused(turn.memory.capacity[model], turn.now)]
    # Both may be paused. (test: test_where_nothing_is_to_be_had_spot_is_asked_for)
    return next(iter(free or there), None)


def _note_coming(turn: Round, wanted: int) -> None:
    names = {member.name for model in Provisioning for member in turn.usable(model)}
    joined = len(names & turn.workers.keys())
    # (test: test_people_hear_of_missing_groups_and_workers_only_where_they_wait_for_them)
    if turn.snapshot.jobs and joined < wanted and not turn.notes:
        turn.notes.append(messages.coming(joined, wanted))
