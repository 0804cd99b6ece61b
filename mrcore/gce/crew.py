"""Steps that run at the same time, and waiting that an interruption can end.

Steps run in threads of their own, which do not get Ctrl-C and SIGHUP, nor do the processes that
they start: what is being made is finished, so that whatever follows can see it.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

from mrcore.errors import MrcoreError
from mrcore.gce.console import say
from mrcore.gce.failures import StepsFailedError
from mrcore.util.clock import SYSTEM

_T = TypeVar("_T")
_KEPT_AWAY: Final = {signal.SIGINT, signal.SIGHUP}
LOOK_SECONDS: Final = 0.2
"""Pause between two looks whether a wait has been interrupted."""


class Step(Generic[_T]):
    """A function in a thread of its own."""

    def __init__(self, function: Callable[[], _T]) -> None:
        self._function = function
        self._result: list[_T] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _KEPT_AWAY)
        try:
            self._result.append(self._function())
        except BaseException as error:  # noqa: BLE001 - whoever waits for the step raises it
            self.error = error

    @property
    def alive(self) -> bool:
        """Whether the function still runs."""
        return self._thread.is_alive()

    def join(self, seconds: float | None = None) -> None:
        """Wait until the function has returned, for at most `seconds`."""
        self._thread.join(seconds)

    def result(self) -> _T:
        """Return what the function has returned, or raise what it has raised."""
        if self.error is not None:
            raise self.error
        return self._result[0]


class Crew:
    """The steps of one command."""

    def __init__(self, *, dry: bool = False, check: Callable[[], None] = lambda: None) -> None:
        """Run steps one after the other with `dry`, so that a plan has an order.

        check: raises where the command has been interrupted; called in the main thread only.
        """
        self._dry = dry
        self._check = check
        self._steps: list[Step[Any]] = []

    def start(self, function: Callable[[], _T]) -> Step[_T]:
        """Start a step."""
        step = Step(function)
        self._steps = [one for one in self._steps if one.alive]
        self._steps.append(step)
        return step

    def wait(self, steps: Sequence[Step[Any]], seconds: float | None = None) -> bool:
        """Wait until steps have ended, for at most `seconds`; return whether they have."""
        if threading.current_thread() is not threading.main_thread():
            for step in steps:
                step.join(seconds)
            return not any(step.alive for step in steps)
        left = seconds
        while any(step.alive for step in steps) and (left is None or left > 0):
            self._check()
            pause = LOOK_SECONDS if left is None else min(LOOK_SECONDS, left)
            next(step for step in steps if step.alive).join(pause)
            left = None if left is None else left - pause
        self._check()
        return not any(step.alive for step in steps)

    def do(self, function: Callable[[], _T]) -> _T:
        """Run one function in a step; return what it returns, or raise what it raises."""
        if self._dry:
            return function()
        step = self.start(function)
        self.wait([step])
        return step.result()

    def together(self, *functions: Callable[[], object]) -> None:
        """Run functions at the same time.

        Raises StepsFailedError when all have ended and one has failed. Each failure is reported
        when it happens.
        """
        if self._dry:
            failed = [not reported(function)() for function in functions]
        else:
            steps = [self.start(reported(function)) for function in functions]
            self.wait(steps)
            failed = [not step.result() for step in steps]
        if any(failed):
            raise StepsFailedError("not all steps succeeded")

    def pause(self, seconds: float) -> None:
        """Let time pass, unless the command is interrupted."""
        self._check()
        end = SYSTEM.monotonic() + seconds
        while (left := end - SYSTEM.monotonic()) > 0:
            SYSTEM.sleep(min(LOOK_SECONDS, left))
            self._check()

    def settle(self) -> None:
        """Wait until nothing is being made, even if the command has been interrupted."""
        for step in self._steps:
            while step.alive:  # in short waits, so that a second signal is noticed
                step.join(LOOK_SECONDS)


def reported(function: Callable[[], object]) -> Callable[[], bool]:
    """Return a function that reports the error of another one, and returns whether it succeeded."""

    def run() -> bool:
        try:
            function()
        except StepsFailedError:
            return False
        except MrcoreError as error:
            say(str(error))
            return False
        return True

    return run


@contextlib.contextmanager
def signals_kept_away() -> Iterator[None]:
    """Keep Ctrl-C and SIGHUP from processes that are started, though they share the terminal."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, _KEPT_AWAY)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def start_process(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a command that a Ctrl-C of the terminal does not reach; it shares stdout and stderr."""
    with signals_kept_away():
        return subprocess.Popen(command, stdin=subprocess.DEVNULL)
