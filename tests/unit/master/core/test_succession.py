"""Take-over by a standby: signs of life, silence, and what shows neither."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mrcore.master.core.succession import (
    BEAT_SECONDS,
    LOOK_SECONDS_MAX,
    SILENT_SECONDS,
    UNLED_SECONDS,
    UNSEEN_SECONDS,
    Sight,
    Succession,
)
from mrcore.master.shell.masters import LIST_SECONDS

LED = Sight(answers=False, leader_epoch=3, epoch=3, entry=9, beat="1")


def seconds_until_due(first: Sight, later: Sight | None = None, step: float = 0.5) -> float | None:
    """Return after how long a standby tries to take over, None if it does not within a minute."""
    succession = Succession(0.0)
    assert not succession.look(first, 0.0)
    for turn in range(1, int(60 / step)):
        if succession.look(later or first, turn * step):
            return turn * step
    return None


def test_a_leader_that_answers_is_not_replaced_whatever_the_store_shows() -> None:
    for sight in (LED, replace(LED, retired=True), replace(LED, gone=True)):
        assert seconds_until_due(replace(sight, answers=True)) is None


def test_a_silent_leader_is_replaced_within_a_lease() -> None:
    seen = seconds_until_due(replace(LED, answers=True), LED)
    assert seen == SILENT_SECONDS < 10.0
    assert SILENT_SECONDS > 2 * BEAT_SECONDS


@pytest.mark.parametrize(
    "sign",
    [
        lambda n: replace(LED, beat=str(n)),
        lambda n: replace(LED, entry=n),
        lambda n: replace(LED, epoch=n),
        lambda n: replace(LED, leader_epoch=n),
    ],
    ids=["beat", "entry", "epoch", "leader object"],
)
def test_a_sign_of_life_in_the_store_begins_the_silence_anew(sign: Callable[[int], Sight]) -> None:
    succession = Succession(0.0)
    for turn in range(40):
        assert not succession.look(sign(turn // 6 + 3), turn * BEAT_SECONDS / 2)


def test_a_leader_that_has_ended_is_replaced_at_once() -> None:
    assert seconds_until_due(LED, replace(LED, retired=True)) == 0.5
    assert seconds_until_due(LED, replace(LED, gone=True)) == 0.5


def test_the_end_of_an_earlier_leader_says_nothing_of_the_one_that_has_just_begun() -> None:
    for ended in (replace(LED, retired=True), replace(LED, gone=True)):
        assert seconds_until_due(replace(ended, epoch=4)) == UNSEEN_SECONDS


def test_a_leader_without_standbys_gets_the_time_to_notice_one() -> None:
    assert seconds_until_due(LED) == UNSEEN_SECONDS
    assert LIST_SECONDS + BEAT_SECONDS < UNSEEN_SECONDS


def test_a_state_that_nobody_has_led_is_led_soon() -> None:
    assert seconds_until_due(Sight(answers=False)) == UNLED_SECONDS


def test_a_standby_that_was_stopped_or_whose_clock_jumps_has_seen_little_silence() -> None:
    succession = Succession(0.0)
    assert not succession.look(LED, 0.0)
    assert not succession.look(LED, 1_000.0)
    assert succession.silent_seconds == LOOK_SECONDS_MAX
    assert not succession.look(LED, 500.0)
    assert succession.silent_seconds == LOOK_SECONDS_MAX


def test_a_standby_that_cannot_read_the_store_sees_no_silence() -> None:
    succession = Succession(0.0)
    assert not succession.look(LED, 0.0)
    for turn in range(1, 100):
        succession.blind(turn * 0.5)
    assert not succession.look(LED, 50.0)
    assert succession.silent_seconds == 0.5
