"""Machines that are of no use: those not to be had, lost ones, and those that have left. Pure."""

from __future__ import annotations

from mrcore.master.fleet.core import messages
from mrcore.master.fleet.core.capacity import failing, observe_errors, paused
from mrcore.master.fleet.core.model import (
    JOIN_SECONDS,
    LINGER_SECONDS,
    Drain,
)
from mrcore.master.fleet.core.turn import Round


def handle_shortages(turn: Round) -> None:
    """Count failures to make machines; move what cannot be had to the other model."""
    attempts = turn.bounds.spot_attempts
    for model, group in turn.snapshot.groups.items():
        capacity, other = turn.memory.capacity[model], turn.memory.capacity[model.other]
        begins = observe_errors(capacity, group, attempts, turn.now)
        missing = failing(group)
        # Where nothing else is to be had either, the request for machines stays.
        # (test: test_machines_stay_asked_for_where_the_other_model_is_not_to_be_had)
        elsewhere = model.other in turn.snapshot.groups and not paused(other, turn.now)
        if paused(capacity, turn.now) and elsewhere:
            # Machines may be missing at each look of a pause.
            # (test: test_a_fallback_is_noted_once)
            if begins:
                turn.add_notice(messages.fallback(model, group, capacity.paused_until - turn.now))
            for member in missing:
                turn.delete(model, member, "not to be had")
        elif capacity.error is not None:
            # The group retries in between, and then no machine shows an error.
            # (test: test_a_shortage_counts_machines_without_a_name_or_an_error)
            count = max(len(missing), group.unlisted, 1)
            turn.notes.append(messages.shortage(model, group, count, capacity, attempts))


def delete_lost(turn: Round) -> None:
    """Delete machines that are gone, have never joined, or have lost their worker."""
    memory, now = turn.memory, turn.now
    for model, group in turn.snapshot.groups.items():
        for member in group.staying:
            # Preempted machines stay in the list, and a deletion may get lost.
            # (test: test_a_new_machine_that_is_preempted_is_deleted_at_once)
            # (test: test_a_lost_deletion_is_repeated_while_the_worker_still_reports)
            if member.dead or member.name in memory.deleted:
                turn.delete(model, member, "gone")
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
                turn.delete(model, member, "left")
            elif now - since >= JOIN_SECONDS:
                turn.delete(model, member, "not joined" if seen is None else "lost")
                # A worker that is lost later has booted well.
                # (test: test_a_worker_that_was_lost_is_not_a_failed_join)
                memory.failed_joins += seen is None
                why = messages.never_joined if seen is None else messages.lost_worker
                turn.add_notice(why(member.name, now - since, turn.bounds))


def delete_drained(turn: Round) -> None:
    """Delete the machines whose workers have left as they were asked to."""
    for model, group in turn.snapshot.groups.items():
        for member in group.staying:
            if member.name not in turn.memory.draining:
                continue
            info = turn.workers.get(member.name)
            # Nothing is given to a worker that leaves, so nothing can be lost with it. Until it
            # has heard, it may be given work, and is asked again.
            # (test: test_a_machine_is_deleted_once_its_worker_has_left)
            if info is None or (info.draining and not info.held):
                turn.delete(model, member, "released")
            elif not info.draining:
                turn.actions.append(Drain(info.worker_id, info.machine))
