"""What is known of a model's capacity: errors of making machines counted, and pauses. Pure."""

from __future__ import annotations

from mrcore.master.fleet.core.model import (
    PAUSE_SECONDS,
    PAUSE_SECONDS_MAX,
    ROUND_SECONDS,
    Group,
    Market,
    Member,
    Trouble,
)


def failing(group: Group) -> list[Member]:
    """Return the machines that the group tries to make in vain."""
    return [member for member in group.members if member.coming and member.troubles]


def troubles(group: Group, market: Market) -> list[Trouble]:
    """Return why machines of the group are missing now, the newest first."""
    last = [trouble for member in failing(group) for trouble in member.troubles]
    fresh = [trouble for trouble in group.troubles if trouble.at_seconds > market.heard_seconds]
    return sorted([*last, *fresh], key=lambda trouble: -trouble.at_seconds)


def paused(market: Market, now: float) -> bool:
    """Tell whether the model is left alone."""
    return now < market.paused_until


def heed(market: Market, group: Group, attempts: int, now: float) -> bool:
    """Count what went wrong since the last look; tell whether a pause begins now."""
    found = troubles(group, market)
    missing = group.unlisted > 0 or any(member.coming for member in group.members)
    market.heard_seconds = max(
        market.heard_seconds, *(trouble.at_seconds for trouble in group.troubles), 0.0
    )
    if any(member.created_seconds > market.paused_until > 0 for member in group.members):
        market.pause_seconds = PAUSE_SECONDS  # there is capacity again
    if not missing:
        market.trouble = None
        if group.members:
            market.failures = 0
        return False
    if found:
        market.trouble = found[0]
    if not found or paused(market, now) or now - market.round_seconds < ROUND_SECONDS:
        return False
    market.failures += 1
    market.round_seconds = now
    if market.failures < max(attempts, 1):
        return False
    market.failures = 0
    market.paused_until = now + market.pause_seconds
    market.pause_seconds = min(2 * market.pause_seconds, PAUSE_SECONDS_MAX)
    return True
