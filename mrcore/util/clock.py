"""Time as a value that is passed in, so that tests and the simulator own it."""

from __future__ import annotations

import time  # noqa: TID251 - the one place that reads the clock
from typing import Protocol


class Clock(Protocol):
    """The time, as shells read it."""

    def monotonic(self) -> float:
        """Return seconds that never run backwards, from an arbitrary origin."""
        ...

    def wall(self) -> float:
        """Return seconds since 1970 UTC: for people, and for what expires; never for a lease."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block the calling thread."""
        ...


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    def wall(self) -> float:
        """Return `time.time()`."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Block the calling thread for `seconds`."""
        time.sleep(seconds)


SYSTEM: Clock = SystemClock()
