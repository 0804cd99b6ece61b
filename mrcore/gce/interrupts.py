"""Reactions to Ctrl-C, SIGTERM and SIGHUP: the first stops in order, the second at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

from mrcore.gce.console import say
from mrcore.util.signals import not_ignored

INTERRUPTED: Final = 130
_NUMBERS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):  # noqa: N818 - not an error
    """The command was interrupted while it waited."""


class Interrupts:
    """Reaction to a signal, which depends on the phase of the command.

    A handler only sets flags and ends processes; the main thread notices at its next wait.
    """

    def __init__(self) -> None:
        self.count = 0
        self._stopping = False
        self._first: Callable[[], None] = self._stop
        self._again: Callable[[], None] = lambda: None

    def install(self, again: Callable[[], None]) -> None:
        """Take signals, but not those that this process was started to ignore.

        again: called at the second one, before the process ends.
        """
        self._again = again
        if threading.current_thread() is not threading.main_thread():
            return
        for number in not_ignored(*_NUMBERS):
            signal.signal(number, self._on_signal)

    def stop_at_once(self) -> None:
        """Let the first signal stop the command at its next wait."""
        self._first = self._stop

    def call_at_first(self, function: Callable[[], None]) -> None:
        """Let the first signal call a function, and the command go on."""
        self._first = function

    def finish(self, notice: str) -> None:
        """Let nothing stop the command any more but a second signal; the first writes a notice."""
        self._stopping = False
        self._first = lambda: say(notice)

    def check(self) -> None:
        """Raise Stopped where the command is to stop."""
        if self._stopping:
            raise Stopped

    def _stop(self) -> None:
        say("stopping …")
        self._stopping = True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count == 1:
            self._first()
            return
        self._again()
        os._exit(INTERRUPTED)
