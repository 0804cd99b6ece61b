"""Time at one record, from looks at a child."""

from __future__ import annotations

import pytest

from mrcore.model.skipping import key_mark
from mrcore.model.task import Mark
from mrcore.worker.core.record_clock import LOOK_SECONDS_MAX, RecordClock

FIRST, SECOND, KEY = Mark("file:///x", 0), Mark("file:///x", 8), key_mark("'k'", 7, "combine")


def test_a_record_gets_the_time_for_which_its_function_stays_at_it() -> None:
    clock = RecordClock()
    assert clock.look(10.0, 1, "map", FIRST) == 0.0
    assert clock.look(10.5, 1, "map", FIRST) == 0.5
    assert clock.look(11.0, 1, "map", FIRST) == 1.0
    assert clock.look(11.1, 1, "map", SECOND) == 0.0
    assert clock.look(11.2, 1, "map", SECOND) == pytest.approx(0.1)
    # Another order may begin with the same record.
    assert clock.look(11.3, 2, "map", SECOND) == 0.0


def test_time_in_other_code_does_not_count() -> None:
    clock = RecordClock()
    clock.look(0.0, 1, "map", FIRST)
    assert clock.look(0.5, 1, "", None) == 0.0
    assert clock.look(1.0, 1, "", None) == 0.0
    assert clock.look(1.25, 1, "map", FIRST) == 0.25


def test_each_function_has_a_record_of_its_own() -> None:
    """A generator without an end is at one record, though combine runs between its pairs."""
    clock = RecordClock()
    spent = 0.0
    for step in range(10):
        spent = clock.look(0.2 * step, 1, "map", FIRST)
        clock.look(0.2 * step + 0.1, 1, "combine", KEY)
    assert spent == pytest.approx(0.9)


def test_a_worker_that_was_stopped_blames_nobody_for_that_time() -> None:
    clock = RecordClock()
    clock.look(0.0, 1, "map", FIRST)
    assert clock.look(3_600.0, 1, "map", FIRST) == LOOK_SECONDS_MAX


def test_each_call_with_a_key_has_its_own_time() -> None:
    """A hot key may be combined again and again, each time for a moment."""
    clock = RecordClock()
    for visit in range(100):
        assert clock.look(0.1 * visit, 1, "combine", KEY, visit) == 0.0
    assert clock.look(10.0, 1, "combine", KEY, 99) == pytest.approx(0.1)
