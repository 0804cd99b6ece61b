"""Counters: what a task may count, and what is refused by name."""

from __future__ import annotations

import pytest

from mrcore.plugin.context import MAX_COUNTERS, Context


@pytest.fixture
def context() -> Context:
    return Context(task="map-00000", params={})


@pytest.mark.parametrize("sign", [1, -1])
def test_a_counter_beyond_64_bits_is_refused_by_name(context: Context, sign: int) -> None:
    most = 2**63 - 1 if sign > 0 else -(2**63)
    context.count("bytes", most)
    for n in (sign, sign * 2**70):
        with pytest.raises(OverflowError, match="the counter 'bytes' of this task would be"):
            context.count("bytes", n)
    assert context.counters == {"bytes": most}
    context.count("bytes", -sign)
    assert context.counters == {"bytes": most - sign}


def test_counters_are_bounded_in_number_and_name(context: Context) -> None:
    with pytest.raises(ValueError, match="is 201 characters long"):
        context.count("n" * 201)
    for number in range(MAX_COUNTERS):
        context.count(str(number))
    with pytest.raises(ValueError, match="'one more' is counter number 1,001"):
        context.count("one more")
    context.count("7")
    assert context.counters["7"] == 2
    assert len(context.counters) == MAX_COUNTERS


def test_what_was_counted_changes_by_counting_only(context: Context) -> None:
    with pytest.raises(TypeError, match="does not support item assignment"):
        context.counters["x"] = 1  # type: ignore[index]
