"""The process that undoes what a rehearsal has done to the system, however the rehearsal ends.

    python -P -m mrcore.chaos.janitor <PIPE

A rehearsal that is killed cannot clean up: stopped processes would stay stopped, and mounts and
network namespaces would stay. So it writes down each act before it does it, as a line: a number,
and the command that undoes it. A line with a number alone says that it was undone. When the pipe
closes, the commands that are left are run, the newest first.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Self, TextIO

_STOP_SECONDS: Final = 10.0
_COMMAND_SECONDS: Final = 30.0


class Janitor:
    """The rehearsal's end of the pipe."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mrcore.chaos.janitor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not for it
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Undo what is left, and end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @contextlib.contextmanager
    def undone_by(self, *command: str) -> Iterator[None]:
        """Do something in this block that the command undoes; the block's end undoes it itself."""
        number = next(self._numbers)
        self._write([number, *command])
        try:
            yield
        finally:
            self._write([number])

    def _write(self, words: Sequence[int | str]) -> None:
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(BrokenPipeError):  # somebody has killed it
            self._process.stdin.write(json.dumps(words).encode() + b"\n")
            self._process.stdin.flush()


def undo_at_end(lines: TextIO) -> None:
    """Read lines until the pipe closes, and run the commands that are left."""
    left: dict[int, list[str]] = {}
    for line in lines:
        with contextlib.suppress(ValueError):  # the last line of a writer that was killed
            number, *command = json.loads(line)
            if command:
                left[number] = command
            else:
                left.pop(number, None)
    for command in reversed(left.values()):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_COMMAND_SECONDS,
                check=False,
            )


if __name__ == "__main__":
    os.chdir("/")
    undo_at_end(sys.stdin)
