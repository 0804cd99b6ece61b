"""Standard streams whose reader may be gone, or whose disk may be full.

A job is not given up because nobody can read how it goes. What a command was called for is another
matter: `mrcore cat` into a full disk is an error.
"""

from __future__ import annotations

import io
import os
import sys


class LastingStream(io.TextIOWrapper):
    """A stream for people, which falls silent once it cannot be written."""

    former: io.TextIOWrapper
    """The stream in whose place it is, and which would close the buffer of both if it went."""

    def write(self, text: str) -> int:
        """Write a text, or nothing."""
        try:
            return super().write(text)
        except OSError:
            forget(self.fileno())
            return len(text)

    def flush(self) -> None:
        """Pass on what was written."""
        try:
            super().flush()
        except OSError:
            forget(self.fileno())


def forget(descriptor: int) -> None:
    """Point a descriptor at nothing, so that what its buffers still hold does not fail again."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)


def open_closed_streams() -> None:
    """Open what the caller has closed (`2>&-`), lest a pipe of ours gets its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))


def let_stderr_last() -> None:
    """Make stderr a LastingStream."""
    former = sys.stderr
    if isinstance(former, io.TextIOWrapper):
        former.flush()
        lasting = LastingStream(former.buffer, former.encoding, former.errors, line_buffering=True)
        lasting.former = former
        sys.stderr = lasting
