"""Capacity of a provisioning model: counted errors of making machines, and pauses. Pure."""

from __future__ import annotations

from mrcore.master.fleet.core.model import (
    PAUSE_SECONDS,
    PAUSE_SECONDS_MAX,
    ROUND_SECONDS,
    CapacityState,
    Group,
    Member,
    ProvisioningError,
)


def failing(group: Group) -> list[Member]:
    """Return the machines that the group tries to make in vain."""
    # A machine keeps its errors for a while after it was made at last.
    # (test: test_a_machine_that_was_made_after_all_is_kept)
    return [member for member in group.members if member.coming and member.errors]


def errors(group: Group, capacity: CapacityState) -> list[ProvisioningError]:
    """Return why machines of the group are missing now, the newest first."""
    last = [error for member in failing(group) for error in member.errors]
    # Groups list errors long after they have happened.
    # (test: test_an_error_from_before_the_master_is_not_a_failure)
    # (test: test_an_error_that_was_counted_is_not_counted_again)
    fresh = [error for error in group.errors if error.at_seconds > capacity.newest_error_seconds]
    return sorted([*last, *fresh], key=lambda error: -error.at_seconds)


def paused(capacity: CapacityState, now: float) -> bool:
    """Return whether the model is left alone."""
    return now < capacity.paused_until


def observe_errors(capacity: CapacityState, group: Group, attempts: int, now: float) -> bool:
    """Count errors since the last look; return whether a pause begins now."""
    found = errors(group, capacity)
    # A machine that cannot be made may never get a name.
    # (test: test_an_error_of_a_machine_without_a_name_is_a_failure)
    missing = group.unlisted > 0 or any(member.coming for member in group.members)
    capacity.newest_error_seconds = max(
        capacity.newest_error_seconds, *(error.at_seconds for error in group.errors), 0.0
    )
    # A machine made since the pause shows that there is capacity again.
    # (test: test_a_machine_that_was_made_after_a_pause_makes_the_next_one_short)
    if any(member.created_seconds > capacity.paused_until for member in group.members):
        capacity.pause_seconds = PAUSE_SECONDS
    # Nothing is missing either once the last request was withdrawn, which proves nothing.
    # (test: test_the_reason_goes_when_nothing_is_missing)
    # (test: test_a_group_without_machines_proves_no_capacity)
    if not missing:
        capacity.error = None
        if group.members:
            capacity.failures = 0
        return False
    if found:
        capacity.error = found[0]
    # One stockout shows up at many machines and looks. In a pause nothing new is learned.
    # (test: test_one_stockout_of_many_machines_is_one_attempt)
    # (test: test_failures_in_a_pause_do_not_make_it_longer)
    if not found or paused(capacity, now) or now - capacity.round_seconds < ROUND_SECONDS:
        return False
    capacity.failures += 1
    capacity.round_seconds = now
    # (test: test_without_attempts_the_first_failure_begins_a_pause)
    if capacity.failures < attempts:
        return False
    # (test: test_after_a_pause_attempts_are_counted_anew)
    capacity.failures = 0
    capacity.paused_until = now + capacity.pause_seconds
    # A stockout may last for days. (test: test_a_pause_has_a_longest_time)
    capacity.pause_seconds = min(2 * capacity.pause_seconds, PAUSE_SECONDS_MAX)
    return True
