"""Policy of the fleet: a snapshot and a memory in, actions and a new memory out.

Level-triggered, like the machine: every decision looks at all there is, so an action that was lost,
or done twice, or half done by a former master, needs no special case. Groups only ever grow by
their size; they shrink by name, since a group that is resized picks its own victims.

A comment at a guard says which run of events needs it, and names the test that plays it.
"""

from __future__ import annotations

from mrcore.master.fleet.core import messages
from mrcore.master.fleet.core.capacity import failing, observe_errors, paused
from mrcore.master.fleet.core.demand import (
    affordable_workers,
    bounds_now,
    slots_by_deadline,
    slots_per_worker,
    wanted_workers,
)
from mrcore.master.fleet.core.memory import remember
from mrcore.master.fleet.core.model import (
    FAILED_JOINS_MAX,
    JOIN_SECONDS,
    LINGER_SECONDS,
    NOTICE_SECONDS,
    WARN_SHARE,
    Action,
    Bounds,
    Decision,
    Delete,
    DeleteGroup,
    Drain,
    End,
    FailJobs,
    FleetSnapshot,
    Grow,
    Member,
    Memory,
    Provisioning,
    WorkerInfo,
)


def decide(snapshot: FleetSnapshot, memory: Memory, bounds: Bounds, now: float) -> Decision:
    """Return what to do at `now`, wall seconds; `memory` is not changed."""
    return _Round(snapshot, memory.copy(), bounds, now).decide()


class _Round:
    """One decision in the making."""

    def __init__(self, snapshot: FleetSnapshot, memory: Memory, bounds: Bounds, now: float) -> None:
        self.snapshot = snapshot
        self.memory = memory
        self.bounds = bounds
        self.now = now
        self.actions: list[Action] = []
        self.notes: list[str] = []
        self.workers = {info.machine: info for info in snapshot.workers}
        self.deletes: dict[Provisioning, list[str]] = {}
        remember(snapshot, memory, now)

    def decide(self) -> Decision:
        """Return the decision."""
        wanted = wanted_workers(self.snapshot, self.memory, self.bounds, self.now)
        ending = False
        if self._over_budget():
            wanted = 0
            self._release_all()
            # The limit stays reached, and the master costs money too.
            # (test: test_beyond_the_spend_limit_an_idle_cluster_still_ends)
            ending = self._idle_too_long()
        elif self._idle_too_long():
            ending = True
        else:
            self._handle_shortages()
            self._delete_lost()
            self._delete_drained()
            self._shrink(wanted)
            self._return_to_spot(wanted)
            self._grow(wanted)
            self._note_deadlines()
        if ending:
            self._end()
        deletes = [Delete(model, tuple(names)) for model, names in self.deletes.items()]
        # What grows comes last: it may need the quota that the deletions free.
        grows = [action for action in self.actions if isinstance(action, Grow)]
        others = [action for action in self.actions if not isinstance(action, Grow)]
        self.actions = [*others, *deletes, *grows]
        notes = [*self.notes, *self.memory.notices]
        return Decision(self.actions, self.memory, notes, wanted, ending)

    def _add_notice(self, text: str) -> None:
        self.memory.notices[text] = self.now + NOTICE_SECONDS

    # -- limits ----------------------------------------------------------------------------------

    def _over_budget(self) -> bool:
        """Fail the jobs if the spend limit is reached; warn before."""
        limit, dollars = self.bounds.max_cost, self.snapshot.dollars
        if limit is None:
            return False
        if dollars >= limit:
            self.notes.append(messages.spent(dollars, limit))
            # The limit stays reached after the jobs have failed.
            # (test: test_beyond_the_spend_limit_jobs_fail_once)
            if self.snapshot.jobs:
                self.actions.append(FailJobs(messages.spent(dollars, limit)))
            return True
        # (test: test_below_the_spend_limit_nobody_is_warned)
        if dollars >= WARN_SHARE * limit:
            self.notes.append(messages.nearly_spent(dollars, limit))
        return False

    def _release_all(self) -> None:
        for model, group in self.snapshot.groups.items():
            # Deletions take several looks.
            # (test: test_beyond_the_spend_limit_a_machine_that_goes_is_not_deleted_again)
            for member in group.staying:
                self._delete(model, member, "spend limit")

    def _idle_too_long(self) -> bool:
        since, timeout = self.memory.idle_seconds, self.bounds.idle_timeout_seconds
        return since is not None and timeout is not None and self.now - since >= timeout

    def _end(self) -> None:
        """Take everything down; the master itself goes last."""
        assert self.memory.idle_seconds is not None
        self.notes.append(messages.ending(self.now - self.memory.idle_seconds))
        # At the spend limit the machines are to go one by one already; now their groups do.
        # (test: test_beyond_the_spend_limit_an_idle_cluster_still_ends)
        self.deletes = {}
        self.actions = [DeleteGroup(model) for model in self.snapshot.groups]
        # The next look finds them missing, and would count them as preempted.
        # (test: test_machines_that_go_with_their_group_are_known_as_deleted)
        for group in self.snapshot.groups.values():
            self.memory.deleted |= {member.name: "idle" for member in group.members}
        # The master goes only after it has seen that no group is left, as calls may get lost.
        # (test: test_an_idle_cluster_deletes_its_groups_and_then_itself)
        if not self.actions:
            self.actions = [End()]

    def _note_deadlines(self) -> None:
        deadline = self.bounds.deadline_seconds
        if deadline is None:
            return
        _, most = bounds_now(self.snapshot, self.bounds)
        for work in self.snapshot.jobs:
            needed = slots_by_deadline(work, self.bounds, self.now)
            workers = -(-(needed or 0) // slots_per_worker(self.snapshot))
            if self.now >= work.submitted_seconds + deadline:
                self.notes.append(messages.overdue(work))
            # (test: test_a_deadline_that_can_be_met_is_not_mentioned)
            elif workers > most:
                self.notes.append(messages.late(work, workers, most))

    # -- useless machines ------------------------------------------------------------------------

    def _delete(self, model: Provisioning, member: Member, why: str) -> None:
        # Two reasons may meet in one look: it is not to be had, and was deleted before.
        # (test: test_after_the_attempts_machines_are_made_on_demand)
        if member.name not in self.deletes.setdefault(model, []):
            self.deletes[model].append(member.name)
        # A lost deletion is repeated. (test: test_the_first_reason_of_a_deletion_is_kept)
        self.memory.deleted.setdefault(member.name, why)

    def _handle_shortages(self) -> None:
        """Count failures to make machines; move what cannot be had to the other model."""
        attempts = self.bounds.spot_attempts
        for model, group in self.snapshot.groups.items():
            capacity, other = self.memory.capacity[model], self.memory.capacity[model.other]
            begins = observe_errors(capacity, group, attempts, self.now)
            missing = failing(group)
            # Where nothing else is to be had either, the request for machines stays.
            # (test: test_machines_stay_asked_for_where_the_other_model_is_not_to_be_had)
            elsewhere = model.other in self.snapshot.groups and not paused(other, self.now)
            if paused(capacity, self.now) and elsewhere:
                # Machines may be missing at each look of a pause.
                # (test: test_a_fallback_is_noted_once)
                if begins:
                    self._add_notice(
                        messages.fallback(model, group, capacity.paused_until - self.now)
                    )
                for member in missing:
                    self._delete(model, member, "not to be had")
            elif capacity.error is not None:
                # The group retries in between, and then no machine shows an error.
                # (test: test_a_shortage_counts_machines_without_a_name_or_an_error)
                count = max(len(missing), group.unlisted, 1)
                self.notes.append(messages.shortage(model, group, count, capacity, attempts))

    def _delete_lost(self) -> None:
        """Delete machines that are gone, have never joined, or have lost their worker."""
        memory, now = self.memory, self.now
        for model, group in self.snapshot.groups.items():
            for member in group.staying:
                # Preempted machines stay in the list, and a deletion may get lost.
                # (test: test_a_new_machine_that_is_preempted_is_deleted_at_once)
                # (test: test_a_lost_deletion_is_repeated_while_the_worker_still_reports)
                if member.dead or member.name in memory.deleted:
                    self._delete(model, member, "gone")
                    continue
                # What is being made cannot join, and what was drained has left as it was asked to,
                # even where the cloud gave no answer for ten minutes meanwhile.
                # (test: test_a_machine_that_is_being_made_is_waited_for)
                # (test: test_a_drained_machine_is_released_also_after_a_long_time_without_a_look)
                if member.coming or member.name in memory.draining:
                    continue
                # A worker may be silent for a moment, and a new master has seen none yet.
                # (test: test_a_worker_that_is_silent_for_a_moment_keeps_its_machine)
                # (test: test_a_new_master_gives_the_workers_it_finds_time_to_come)
                seen = memory.last_seen.get(member.name)
                since = max(member.created_seconds, memory.began_seconds, seen or 0.0)
                # A preempted machine powers off by itself.
                # (test: test_a_machine_whose_worker_has_left_is_given_time_to_power_off)
                if member.name in memory.leaving and now - since >= LINGER_SECONDS:
                    self._delete(model, member, "left")
                elif now - since >= JOIN_SECONDS:
                    self._delete(model, member, "not joined")
                    # A worker that is lost later has booted well.
                    # (test: test_a_worker_that_was_lost_is_not_a_failed_join)
                    memory.failed_joins += seen is None
                    self._add_notice(messages.never_joined(member.name, now - since, self.bounds))

    def _delete_drained(self) -> None:
        """Delete the machines whose workers have left as they were asked to."""
        for model, group in self.snapshot.groups.items():
            for member in group.staying:
                if member.name not in self.memory.draining:
                    continue
                info = self.workers.get(member.name)
                # Nothing is given to a worker that leaves, so nothing can be lost with it. Until it
                # has heard, it may be given work, and is asked again.
                # (test: test_a_machine_is_deleted_once_its_worker_has_left)
                if info is None or (info.draining and not info.held):
                    self._delete(model, member, "released")
                elif not info.draining:
                    self.actions.append(Drain(info.worker_id, info.machine))

    # -- size ------------------------------------------------------------------------------------

    def _usable(self, model: Provisioning) -> list[Member]:
        """Return the members of a group that will go on working, or are on their way."""
        group = self.snapshot.groups.get(model)
        if group is None:
            return []
        # A machine that leaves or goes does no more work: others are made for it.
        # (test: test_a_machine_that_leaves_by_itself_is_replaced_at_once)
        # (test: test_machines_on_their_way_out_do_no_work_but_count_for_the_most)
        out = {*self.memory.draining, *self.memory.leaving, *self.deletes.get(model, ())}
        return [member for member in group.staying if member.name not in out]

    def _count(self) -> int:
        """Return how many machines will go on working, nameless ones too."""
        # A request for machines takes a while to be listed by name.
        # (test: test_what_is_on_its_way_is_not_asked_for_again)
        named = sum(len(self._usable(model)) for model in Provisioning)
        return named + sum(group.unlisted for group in self.snapshot.groups.values())

    def _drain(self, info: WorkerInfo) -> None:
        self.memory.draining.append(info.machine)
        self.actions.append(Drain(info.worker_id, info.machine))

    def _shrink(self, wanted: int) -> None:
        """Release machines beyond those wanted: never one whose worker holds work."""
        memory, now = self.memory, self.now
        surplus = self._count() - wanted
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
            group = self.snapshot.groups.get(model)
            for member in failing(group) if group is not None else ():
                # It may be deleted already, as its model is paused.
                # (test: test_no_more_failing_machines_are_deleted_than_are_too_many)
                # (test: test_a_machine_is_not_counted_twice_as_too_many)
                if surplus > 0 and member in self._usable(model):
                    self._delete(model, member, "not needed")
                    surplus -= 1
        for model in (Provisioning.STANDARD, Provisioning.SPOT):
            # (test: test_the_size_that_was_found_is_kept_until_a_job_comes)
            free = [self.workers[m.name] for m in self._usable(model) if m.name in memory.free]
            for info in sorted(free, key=lambda info: (memory.free[info.machine], info.machine)):
                # The next job may come soon. (test: test_dear_machines_go_first)
                # (test: test_idle_workers_are_released_while_a_straggler_runs)
                if surplus > 0 and now - memory.free[info.machine] >= LINGER_SECONDS:
                    self._drain(info)
                    surplus -= 1
        for model in (Provisioning.STANDARD, Provisioning.SPOT):
            booting = [m for m in self._usable(model) if m.name not in self.workers]
            for member in sorted(booting, key=lambda m: (-m.created_seconds, m.name)):
                # What boots is kept a while too, and no more go than are too many.
                # (test: test_no_more_booting_machines_are_deleted_than_are_too_many)
                if surplus > 0 and lasting:
                    self._delete(model, member, "not needed")
                    surplus -= 1

    def _return_to_spot(self, wanted: int) -> None:
        """Replace on-demand machines by spot ones, few at a time, once spot may be tried again."""
        spot = self.snapshot.groups.get(Provisioning.SPOT)
        capacity = self.memory.capacity[Provisioning.SPOT]
        # A machine that boots has no worker to drain.
        # (test: test_an_on_demand_machine_that_boots_is_not_drained)
        dear = [m.name for m in self._usable(Provisioning.STANDARD) if m.name in self.workers]
        # People who made on-demand machines themselves keep them. They may have no spot group.
        # (test: test_one_of_the_groups_may_be_missing)
        # (test: test_without_a_pause_before_on_demand_machines_stay)
        # (test: test_on_demand_machines_stay_while_spot_is_paused)
        if spot is None or not capacity.paused_until or paused(capacity, self.now):
            return
        # Each batch of spot machines has to prove itself before more capacity is given up for it.
        # (test: test_on_demand_machines_stay_while_a_spot_machine_is_on_its_way)
        # (test: test_on_demand_machines_stay_while_another_one_still_drains)
        waiting = spot.unlisted or any(member.coming for member in spot.members)
        under_way = any(name in self.workers for name in self.memory.draining)
        # Without a job nobody needs the new machine, and missing ones are made as spot anyway.
        # (test: test_on_demand_machines_stay_where_there_is_no_job)
        # (test: test_on_demand_machines_stay_while_workers_are_missing)
        if waiting or under_way or not self.snapshot.jobs or self._count() != wanted:
            return
        # Batches double, but machines from before the pause prove nothing.
        # (test: test_spot_machines_from_before_the_pause_do_not_speed_up_the_return)
        joined = [
            m for m in self._usable(Provisioning.SPOT) if m.created_seconds > capacity.paused_until
        ]
        # (test: test_on_demand_machines_stay_while_a_spot_machine_is_on_its_way)
        if any(member.name not in self.workers for member in joined):
            return
        # (test: test_on_demand_machines_give_way_to_spot_ones_a_few_at_a_time)
        batch = max(1, len(joined))
        least = sorted(dear, key=lambda name: (self.workers[name].held, name))
        for name in least[:batch]:
            self._drain(self.workers[name])

    def _grow(self, wanted: int) -> None:
        """Ask for the machines that are missing, within every bound."""
        groups, memory = self.snapshot.groups, self.memory
        _, most = bounds_now(self.snapshot, self.bounds)
        missing = wanted - self._count()
        # Machines that leave still cost money, so they take up room below the most.
        # (test: test_machines_on_their_way_out_do_no_work_but_count_for_the_most)
        room = most - sum(group.size for group in groups.values())
        model = self._choose()
        # (test: test_people_hear_of_missing_groups_and_workers_only_where_they_wait_for_them)
        if model is None and missing > 0:
            self.notes.append(messages.no_groups())
        self._note_coming(wanted)
        # The limits below are named only where one of them is the reason.
        # (test: test_the_spend_limit_is_not_named_where_it_is_not_the_reason)
        if missing <= 0 or room <= 0 or model is None:
            return
        group = groups[model]
        more = min(missing, room)
        carried = affordable_workers(self.snapshot, self.bounds, group.hour_dollars)
        # The limit may carry many more machines than the work needs, or too few.
        # (test: test_a_high_spend_limit_makes_no_more_workers_than_the_work_needs)
        # (test: test_no_worker_is_made_that_the_spend_limit_does_not_carry)
        if carried is not None and carried < self._count() + more:
            assert self.bounds.max_cost is not None
            self.notes.append(messages.unaffordable(self.bounds.max_cost))
            more = carried - self._count()
        # With a broken image no machine ever joins.
        # (test: test_after_machines_that_never_joined_they_are_made_one_at_a_time)
        if memory.failed_joins >= FAILED_JOINS_MAX:
            self.notes.append(messages.failed_joins(memory.failed_joins, self.bounds))
            more = min(more, 1 - self._unproven())
        # A group that deletes now grows at the next look: its size is about to fall.
        # (test: test_a_preempted_machine_is_deleted_and_then_replaced)
        if more > 0 and not self.deletes.get(model):
            self.actions.append(Grow(model, group.target_size + more))

    def _unproven(self) -> int:
        """Return how many machines are there or coming whose worker has not joined."""
        named = [
            m for model in Provisioning for m in self._usable(model) if m.name not in self.workers
        ]
        # (test: test_after_failed_joins_a_machine_without_a_name_is_waited_for)
        return len(named) + sum(group.unlisted for group in self.snapshot.groups.values())

    def _choose(self) -> Provisioning | None:
        """Return the model to grow: spot, unless it is paused and on-demand is not."""
        there = [model for model in Provisioning if model in self.snapshot.groups]
        free = [model for model in there if not paused(self.memory.capacity[model], self.now)]
        # Both may be paused. (test: test_where_nothing_is_to_be_had_spot_is_asked_for)
        return next(iter(free or there), None)

    def _note_coming(self, wanted: int) -> None:
        names = {member.name for model in Provisioning for member in self._usable(model)}
        joined = len(names & self.workers.keys())
        # (test: test_people_hear_of_missing_groups_and_workers_only_where_they_wait_for_them)
        if self.snapshot.jobs and joined < wanted and not self.notes:
            self.notes.append(messages.coming(joined, wanted))
