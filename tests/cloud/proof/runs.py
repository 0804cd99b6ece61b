"""`mrcore gce run` as somebody at a terminal has it: read, interrupted, or lost with its laptop."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen, TimeoutExpired

from tests.cloud.machines.cloud import CloudError

INTERRUPTED = 130


class Run:
    """A command that runs, in a session of its own, with its output in a file."""

    def __init__(self, process: Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def said(self) -> str:
        """Return what it has said so far."""
        return self._log.read_text()

    def check_alive(self) -> None:
        """Raise CloudError if it has ended."""
        if (code := self._process.poll()) is not None:
            raise CloudError(f"{self.said()}\nThe run ended with {code} before it should.")

    def interrupt(self) -> None:
        """Press Ctrl-C: every process of the terminal hears it."""
        self._signal(signal.SIGINT)

    def lose(self) -> None:
        """End it as a laptop that is switched off does: nobody has a last word."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def end(self, wanted: int, seconds: float) -> None:
        """Wait for its end; raise CloudError if that is not as wanted, or not in time."""
        try:
            code = self._process.wait(seconds)
        except TimeoutExpired:
            raise CloudError(f"{self.said()}\nThe run does not end.") from None
        if code != wanted:
            raise CloudError(f"{self.said()}\nThe run ended with {code} and not with {wanted}.")

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def _processes(self) -> Iterator[int]:
        """Yield the processes of its terminal, but for the first: that only reports its end."""
        first = self._process.pid
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # After the name, in parentheses: state, parent, process group.
                group = path.read_text().rpartition(")")[2].split()[2]
                if int(group) == first != int(path.parent.name):
                    yield int(path.parent.name)
