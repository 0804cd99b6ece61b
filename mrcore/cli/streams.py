"""Standard streams that survive a closed pipe or a full disk.

A job goes on even if its progress cannot be printed. The result of a command is different:
`mrcore cat` into a full disk is an error.
"""

from __future__ import annotations

import io
import os
import sys


class LastingStream(io.TextIOWrapper):
    """A stream for people that discards text once it cannot be written."""

    former: io.TextIOWrapper
    """The replaced stream; kept alive because its finalizer would close the shared buffer."""

    def write(self, text: str) -> int:
        """Write the text; discard it if that fails."""
        try:
            return super().write(text)
        except OSError:
            forget(self.fileno())
            return len(text)

    def flush(self) -> None:
        """Flush the buffer; discard it if that fails."""
        try:
            super().flush()
        except OSError:
            forget(self.fileno())


def forget(descriptor: int) -> None:
    """Point a descriptor at /dev/null, so that flushing its buffers does not fail again."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)


def open_closed_streams() -> None:
    """Open standard streams that the caller closed (`2>&-`): pipes must not take their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))


def let_stderr_last() -> None:
    """Replace stderr by a LastingStream."""
    former = sys.stderr
    if isinstance(former, io.TextIOWrapper):
        former.flush()
        lasting = LastingStream(former.buffer, former.encoding, former.errors, line_buffering=True)
        lasting.former = former
        sys.stderr = lasting
