"""Children that could not be started: how often in a row, why, and when to try again."""

from __future__ import annotations

import logging

from mrcore.util.clock import Clock
from mrcore.worker.core.limits import Limits

log = logging.getLogger("mrcore.worker")


class Starts:
    """Bad starts in a row, since a child has done anything."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.reason = ""
        """Reason why the latest one failed."""
        self._limits = limits
        self._clock = clock
        self._bad = 0
        self._again_at = 0.0

    def may_start(self) -> bool:
        """Return whether a child may be started now."""
        return self._clock.monotonic() >= self._again_at

    def worked(self) -> None:
        """Note that a child has taken an order."""
        self._bad = 0

    def failed(self, reason: str) -> None:
        """Note a bad start; log it where it is new."""
        self._again_at = self._clock.monotonic() + self._limits.restart_seconds
        self._bad += 1
        if self._bad == 1 or reason != self.reason:
            log.error("a child could not be started: %s", reason)
        self.reason = reason

    def hopeless(self) -> bool:
        """Return whether attempts should no longer wait for a child."""
        return self._bad >= self._limits.bad_starts_max
