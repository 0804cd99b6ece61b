"""Slow lines: delay, order and loss."""

from __future__ import annotations

from random import Random

from mrcore.chaos.core.line import DELAY_SECONDS, FRAMES_MAX, LOSS, Line


def test_frames_arrive_late_and_in_their_order() -> None:
    line = Line[int](Random(1))
    arrived: list[tuple[int, float]] = []
    for step in range(5_000):
        now = step / 1_000
        line.put(step, now)
        arrived += [(frame, now) for frame in line.take(now)]
    frames = [frame for frame, _ in arrived]
    assert frames == sorted(frames)
    late = [now - frame / 1_000 for frame, now in arrived]
    assert min(late) >= DELAY_SECONDS[0]
    assert max(late) < DELAY_SECONDS[1] + 0.0015  # it is looked at every millisecond
    lost = 1 - (len(frames) + 8) / 5_000
    assert LOSS / 2 < lost < 2 * LOSS


def test_the_next_frame_and_a_full_line() -> None:
    line = Line[int](Random(2))
    assert line.next_at() is None
    for frame in range(2 * FRAMES_MAX):
        line.put(frame, 1.0)
    at = line.next_at()
    assert at is not None
    assert DELAY_SECONDS[0] <= at - 1.0 <= DELAY_SECONDS[1]
    assert len(line.take(2.0)) == FRAMES_MAX
    assert line.next_at() is None
