"""Notifications to systemd: ready, status, watchdog and stopping; see sd_notify(3).

Outside systemd they do nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, MutableMapping
from typing import Final

CHECK_SECONDS: Final = 5.0
"""Pause of `watch` between two status updates if there is no watchdog."""
START_SECONDS: Final = 300.0
"""Extra time that each reported step of a start gets; equal to TimeoutStartSec."""


class Notifier:
    """Connection to the service manager that the environment names.

    Its variables are removed from `environment`, so that child processes do not notify for us.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        path = environment.pop("NOTIFY_SOCKET", "")
        # An abstract socket is written with an @ in place of its leading zero byte.
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._stepped_at = float("-inf")
        usec, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        ours = pid in ("", str(os.getpid()))
        self.watchdog_seconds: float | None = int(usec) / 1e6 if usec and ours else None
        """Time without a watchdog message after which systemd kills us; None: no watchdog."""

    def send(self, **state: str | int) -> None:
        """Send variables such as READY=1 in one message; never block or fail."""
        if not self._address:
            return
        text = "\n".join(f"{name}={value}" for name, value in state.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as line:
            try:
                line.sendto(text.encode(), self._address)
            except OSError:
                # A restart of the manager must not end the daemons; the next message will arrive.
                return

    def starting(self, status: str, now: float) -> None:
        """Report a step of a long start and ask for more time, at most every few seconds.

        Without steps the manager treats the start as hung and ends it. `now` is a monotonic time.
        """
        if now - self._stepped_at >= CHECK_SECONDS:
            self._stepped_at = now
            self.send(STATUS=status, EXTEND_TIMEOUT_USEC=int(START_SECONDS * 1e6))

    async def watch(self, healthy: Callable[[], bool], status: Callable[[], str]) -> None:
        """Send STATUS and WATCHDOG=1 while `healthy()`, until cancelled."""
        if not self._address:
            return
        # Three messages in each period, so that a late one does no harm.
        pause = min(CHECK_SECONDS, (self.watchdog_seconds or CHECK_SECONDS * 3) / 3)
        while True:
            if healthy():
                self.send(STATUS=status(), WATCHDOG=1)
            await asyncio.sleep(pause)
