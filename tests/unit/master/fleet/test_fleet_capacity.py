"""Errors of making machines: what counts as a failure, and how long a pause lasts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mrcore.master.fleet.core import messages
from mrcore.master.fleet.core.capacity import observe_errors
from mrcore.master.fleet.core.model import (
    PAUSE_SECONDS,
    PAUSE_SECONDS_MAX,
    CapacityState,
    Group,
    Provisioning,
    ProvisioningError,
)
from tests.support.fleet_sights import NOW, SPOT, STANDARD, STOCKOUT, creating, group, up

STUCK = group(creating("a", STOCKOUT))


def after(capacity: CapacityState, seen: Group, attempts: int = 3) -> CapacityState:
    """Return the capacity after one look."""
    observe_errors(capacity, seen, attempts, NOW)
    return capacity


def test_an_error_from_before_the_master_is_not_a_failure() -> None:
    seen = group(size=1, errors=(STOCKOUT,))
    assert after(CapacityState(newest_error_seconds=NOW), seen).failures == 0


def test_an_error_of_a_machine_without_a_name_is_a_failure() -> None:
    assert after(CapacityState(), group(size=1, errors=(STOCKOUT,))).failures == 1


def test_an_error_that_was_counted_is_not_counted_again() -> None:
    later = replace(STOCKOUT, at_seconds=NOW - 500)
    capacity = after(CapacityState(), group(up("a"), errors=(STOCKOUT,)))
    assert after(capacity, group(size=1, errors=(later, STOCKOUT))).failures == 0


def test_a_group_without_machines_proves_no_capacity() -> None:
    assert after(CapacityState(failures=2), group()).failures == 2


def test_the_reason_goes_when_nothing_is_missing() -> None:
    assert after(CapacityState(error=STOCKOUT), group(up("a"))).error is None


def test_failures_in_a_pause_do_not_make_it_longer() -> None:
    capacity = after(CapacityState(paused_until=NOW + 100), STUCK, attempts=1)
    assert capacity.failures == 0
    assert capacity.paused_until == NOW + 100


def test_after_a_pause_attempts_are_counted_anew() -> None:
    capacity = after(CapacityState(failures=2), STUCK)
    assert capacity.paused_until == NOW + PAUSE_SECONDS
    assert capacity.failures == 0


def test_without_attempts_the_first_failure_begins_a_pause() -> None:
    assert after(CapacityState(), STUCK, attempts=0).paused_until == NOW + PAUSE_SECONDS


def test_a_machine_that_was_made_after_a_pause_makes_the_next_one_short() -> None:
    known = CapacityState(paused_until=NOW - 100, pause_seconds=PAUSE_SECONDS_MAX)
    assert after(known, group(up("a", NOW - 1000))).pause_seconds == PAUSE_SECONDS_MAX
    assert after(known, group(up("a", NOW - 50))).pause_seconds == PAUSE_SECONDS


def test_a_pause_has_a_longest_time() -> None:
    capacity = after(CapacityState(failures=2, pause_seconds=PAUSE_SECONDS_MAX), STUCK)
    assert capacity.pause_seconds == PAUSE_SECONDS_MAX


@pytest.mark.parametrize(
    ("model", "code", "zone", "failures", "text"),
    [
        (STANDARD, "X_EXHAUSTED", "z", 0, "1 on-demand machine is not to be had in z (stockout)."),
        (SPOT, "X_EXHAUSTED", "", 3, "1 spot machine is not to be had (stockout)."),
        (STANDARD, "BOOM", "z", 0, "1 on-demand machine in z cannot be made (no)."),
    ],
)
def test_a_shortage_names_only_what_is_known_and_still_to_come(
    model: Provisioning, code: str, zone: str, failures: int, text: str
) -> None:
    error = ProvisioningError(code=code, message="no", zone=zone)
    capacity = CapacityState(failures=failures, error=error)
    shortage = messages.shortage(model, Group(target_size=1), 1, capacity, 3)
    assert shortage == f"{text} The master tries again."
