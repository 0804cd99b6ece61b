"""Callbacks of futures, in threads beside those that deliver the ends of calls.

A callback may wait for another call. In the thread that delivers the end of that one, it would wait
for ever. So one thread runs the callbacks in their order, and another goes on when one takes long.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from mrcore.util.clock import SYSTEM, Clock

STUCK_SECONDS: Final = 0.05
"""Time after which the callbacks behind one that waits are run by another thread."""
IDLE_SECONDS: Final = 10.0
"""Time after which a thread without work ends."""


class Callbacks:
    """Threads that run callbacks: one at work, and one that takes over where it waits."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._todo: deque[Callable[[], object]] = deque()
        self._running: object = None
        """Stands for the callback that ran last, until it has returned."""
        self._begun = 0.0
        self._spare = 0
        """Threads that are not in a callback."""

    def run(self, callback: Callable[[], object]) -> None:
        """Run a callback soon, after those that came before it unless they wait."""
        with self._changed:
            self._todo.append(callback)
            self._ensure_spare()
            self._changed.notify()

    def _ensure_spare(self) -> None:
        if not self._spare:
            self._spare += 1
            threading.Thread(target=self._work, name="mrcore-callbacks", daemon=True).start()

    def _work(self) -> None:
        with self._changed:
            try:
                while self._await_work():
                    self._run_next()
            finally:
                self._spare -= 1

    def _await_work(self) -> bool:
        """Wait until a callback can be run; return False after a while without any."""
        while True:
            if not self._todo:
                if not self._changed.wait(IDLE_SECONDS) and not self._todo:
                    return False
            elif (left := self._seconds_to_wait()) > 0:
                self._changed.wait(left)
            else:
                return True

    def _seconds_to_wait(self) -> float:
        if self._running is None:
            return 0.0
        return self._begun + STUCK_SECONDS - self._clock.monotonic()

    def _run_next(self) -> None:
        """Run the next callback, without the lock."""
        callback = self._todo.popleft()
        mine = self._running = object()
        self._begun = self._clock.monotonic()
        self._spare -= 1
        if self._todo:
            self._ensure_spare()
        self._changed.release()
        try:
            # A callback that raises SystemExit ends neither this thread nor those behind it.
            with contextlib.suppress(SystemExit):
                callback()
        finally:
            del callback
            self._changed.acquire()
            self._spare += 1
            if self._running is mine:
                self._running = None
                self._changed.notify()


CALLBACKS: Final = Callbacks()
_here = threading.local()


@contextlib.contextmanager
def delivering() -> Iterator[None]:
    """Mark the calling thread as one that delivers the ends of calls, for the time of the block."""
    _here.delivers = True
    try:
        yield
    finally:
        _here.delivers = False


def is_delivering() -> bool:
    """Return whether the calling thread delivers the ends of calls."""
    return getattr(_here, "delivers", False)
