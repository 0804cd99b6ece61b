"""Garbage collection while a large state is read."""

from __future__ import annotations

import gc

import pytest

from mrcore.daemon.collector import collecting_later


def test_nothing_is_collected_while_a_state_is_read_also_where_that_fails() -> None:
    seen = [gc.isenabled()]

    def fail() -> None:
        seen.append(gc.isenabled())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), collecting_later():
        fail()
    assert [*seen, gc.isenabled()] == [True, False, True]
