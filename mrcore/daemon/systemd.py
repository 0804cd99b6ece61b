"""What a daemon tells systemd: that it serves, how it does, that it ends; see sd_notify(3).

Everything here does nothing where systemd has not asked for it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, MutableMapping
from typing import Final

CHECK_SECONDS: Final = 5.0
"""How often `watch` looks where there is no watchdog, for the sake of the status."""
START_SECONDS: Final = 300.0
"""A start may take this much longer from each step that it reports; as TimeoutStartSec."""


class Notifier:
    """The line to the service manager, as the environment names it.

    Its variables are taken out of `environment`: children of this process do not speak for it.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        path = environment.pop("NOTIFY_SOCKET", "")
        # An abstract socket is written with an @ in place of its leading zero byte.
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._stepped_at = float("-inf")
        usec, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        ours = pid in ("", str(os.getpid()))
        self.watchdog_seconds: float | None = int(usec) / 1e6 if usec and ours else None
        """Without a sign of life for so long this process is killed; None: nobody watches."""

    def tell(self, **state: str | int) -> None:
        """Send variables such as READY=1 in one message; never block, and never fail."""
        if not self._address:
            return
        text = "\n".join(f"{name}={value}" for name, value in state.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as line:
            try:
                line.sendto(text.encode(), self._address)
            except OSError:
                # Who restarts the manager must not lose the daemons, and the next message counts.
                return

    def starting(self, status: str, now: float) -> None:
        """Report a step of a long start, at most every few seconds; the start gets more time.

        Without steps the manager ends the start, as it would end one that hangs. `now` is a
        monotonic time.
        """
        if now - self._stepped_at >= CHECK_SECONDS:
            self._stepped_at = now
            self.tell(STATUS=status, EXTEND_TIMEOUT_USEC=int(START_SECONDS * 1e6))

    async def watch(self, healthy: Callable[[], bool], status: Callable[[], str]) -> None:
        """Send STATUS, and WATCHDOG=1 while `healthy()`, until cancelled."""
        if not self._address:
            return
        # Three looks in each period, so that one that comes late does no harm.
        pause = min(CHECK_SECONDS, (self.watchdog_seconds or CHECK_SECONDS * 3) / 3)
        while True:
            if healthy():
                self.tell(STATUS=status(), WATCHDOG=1)
            await asyncio.sleep(pause)
