"""A slow line: frames come out later than they went in, in their order, and some get lost. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from random import Random  # noqa: TID251 - the type only: a generator is always passed in

DELAY_SECONDS: Final = (0.002, 0.008)
"""Shortest and longest time on the line."""
LOSS: Final = 0.01
"""Share of the frames that get lost."""
FRAMES_MAX: Final = 1_000
"""Frames on the line; more get lost, as in a full queue of a router."""
_T = TypeVar("_T")


class Line(Generic[_T]):
    """One direction of a cable."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._frames: deque[tuple[float, _T]] = deque()

    def put(self, frame: _T, now: float) -> None:
        """Take a frame in, or lose it."""
        if len(self._frames) >= FRAMES_MAX or self._rng.random() < LOSS:
            return
        due = now + self._rng.uniform(*DELAY_SECONDS)
        if self._frames:
            due = max(due, self._frames[-1][0])
        self._frames.append((due, frame))

    def take(self, now: float) -> list[_T]:
        """Return the frames that have arrived by now."""
        arrived = []
        while self._frames and self._frames[0][0] <= now:
            arrived.append(self._frames.popleft()[1])
        return arrived

    def next_at(self) -> float | None:
        """Return when the next frame arrives; None for an empty line."""
        return self._frames[0][0] if self._frames else None
