"""Each second in which a master was deaf counts once."""

from __future__ import annotations

from mrcore.master.core.stalls import SLICE_SECONDS, STALL_SECONDS, Stalls


def test_short_pauses_are_not_stalls() -> None:
    stalls = Stalls()
    assert stalls.take(10.0, STALL_SECONDS) == 0.0
    stalls.append_began(10.0)
    assert stalls.take(10.0 + STALL_SECONDS, 0.0) == 0.0
    assert stalls.append_ended(10.5) == 0.5


def test_an_append_that_blocks_counts_in_slices() -> None:
    stalls = Stalls()
    stalls.append_began(10.0)
    assert stalls.take(12.0, 0.0) == 2.0
    assert stalls.take(12.0 + SLICE_SECONDS / 2, 0.0) == 0.0
    assert stalls.take(13.0, 0.0) == 1.0
    stalls.append_ended(13.1)
    assert stalls.take(20.0, 0.0) == 0.0


def test_a_loop_that_was_deaf_during_an_append_counts_once() -> None:
    stalls = Stalls()
    stalls.append_began(10.0)
    assert stalls.take(3_610.0, 3_600.0) == 3_600.0
    assert stalls.take(3_610.1, 0.0) == 0.0
    assert stalls.take(3_612.0, 0.0) == 2.0


def test_deafness_before_an_append_is_not_taken_for_a_part_of_it() -> None:
    stalls = Stalls()
    stalls.append_began(19.0)
    assert stalls.take(20.0, 10.0) == 10.0
    assert stalls.take(22.0, 0.0) == 2.0
