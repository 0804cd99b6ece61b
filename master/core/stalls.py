"""Account of the time in which a master hears and answers nobody. Pure.

Leases grow by that time. The loop of a master may be blocked, or an append to the journal, or both
at once; each second counts once. The shell and the simulator share it.
"""

from __future__ import annotations

from typing import Final

STALL_SECONDS: Final = 1.0
"""Deafness of more than this makes every lease longer by it."""
SLICE_SECONDS: Final = 0.25
"""Time of an append that counts at once, so that nothing expires while it is still blocked."""


class Stalls:
    """The time that one master was deaf, as far as its machine does not know it."""

    def __init__(self) -> None:
        self._appending_since: float | None = None
        self._accounted = 0.0
        """Seconds of the append in flight that the machine knows."""

    def append_began(self, now: float) -> None:
        """Take note of an append."""
        self._appending_since = now
        self._accounted = 0.0

    def append_ended(self, now: float) -> float:
        """Take note of its end; return the seconds that it took."""
        assert self._appending_since is not None
        seconds, self._appending_since = now - self._appending_since, None
        return seconds

    def take(self, now: float, deaf_seconds: float) -> float:
        """Return the seconds of a stall that are new, given those for which the loop was deaf."""
        since = self._appending_since
        blocked = 0.0 if since is None else now - since
        if deaf_seconds > STALL_SECONDS:
            self._accounted = min(blocked, self._accounted + deaf_seconds)
            return deaf_seconds
        if blocked <= STALL_SECONDS or blocked - self._accounted < SLICE_SECONDS:
            return 0.0
        seconds, self._accounted = blocked - self._accounted, blocked
        return seconds
