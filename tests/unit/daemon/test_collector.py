"""Garbage collection in daemons: what calls leave behind, and while a large state is read."""

from __future__ import annotations

import gc
import weakref

import pytest

from mrcore.daemon.collector import collect_rarely, collecting_later


def test_nothing_is_collected_while_a_state_is_read_also_where_that_fails() -> None:
    seen = [gc.isenabled()]

    def fail() -> None:
        seen.append(gc.isenabled())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), collecting_later():
        fail()
    assert [*seen, gc.isenabled()] == [True, False, True]


class Left:
    """An object in a cycle with itself, as gRPC leaves some for each call."""

    def __init__(self) -> None:
        self.me = self


def test_what_calls_leave_in_cycles_goes_before_it_takes_megabytes() -> None:
    before = gc.get_threshold()
    try:
        collect_rarely()
        gc.collect()
        left = [weakref.ref(Left()) for _ in range(20_000)]
        alive = sum(one() is not None for one in left)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
    assert alive < 10_000
