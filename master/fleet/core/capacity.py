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
    return [member for member in group.members if member.coming and member.errors]


def errors(group: Group, capacity: CapacityState) -> list[ProvisioningError]:
    """Return why machines of the group are missing now, the newest first."""
    last = [error for member in failing(group) for error in member.errors]
    fresh = [error for error in group.errors if error.at_seconds > capacity.newest_error_seconds]
    return sorted([*last, *fresh], key=lambda error: -error.at_seconds)


def paused(capacity: CapacityState, now: float) -> bool:
    """Return whether the model is left alone."""
    return now < capacity.paused_until


def observe_errors(capacity: CapacityState, group: Group, attempts: int, now: float) -> bool:
    """Count errors since the last look; return whether a pause begins now."""
    found = errors(group, capacity)
    missing = group.unlisted > 0 or any(member.coming for member in group.members)
    capacity.newest_error_seconds = max(
        capacity.newest_error_seconds, *(error.at_seconds for error in group.errors), 0.0
    )
    if any(member.created_seconds > capacity.paused_until > 0 for member in group.members):
        capacity.pause_seconds = PAUSE_SECONDS  # there is capacity again
    if not missing:
        capacity.error = None
        if group.members:
            capacity.failures = 0
        return False
    if found:
        capacity.error = found[0]
    if not found or paused(capacity, now) or now - capacity.round_seconds < ROUND_SECONDS:
        return False
    capacity.failures += 1
    capacity.round_seconds = now
    if capacity.failures < max(attempts, 1):
        return False
    capacity.failures = 0
    capacity.paused_until = now + capacity.pause_seconds
    capacity.pause_seconds = min(2 * capacity.pause_seconds, PAUSE_SECONDS_MAX)
    return True
