"""Standard output and error of a child, which user code may close or put something in place of."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Final, TextIO

_STREAMS: Final = {"stdout": 1, "stderr": 2}


class StandardStreams:
    """The two streams as they were at the start, for each call that begins.

    A process runs calls of many sessions, and what one call does to its streams must not spoil
    what others print.
    """

    def __init__(self, log: int) -> None:
        """Prepare the streams of now; `log` is the descriptor that both write to."""
        self._log = log
        self._streams: dict[str, TextIO | None] = {}
        for name in _STREAMS:
            self._streams[name] = stream = getattr(sys, name)
            if isinstance(stream, io.TextIOWrapper):
                # By lines, so that the last words of a process that crashes are kept.
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)

    def restore(self) -> None:
        """Put the streams back, and open again what was closed.

        A file of the user's that has got the number of a closed stream is left alone.
        """
        for name, descriptor in _STREAMS.items():
            if _is_closed(descriptor):
                os.dup2(self._log, descriptor)
            stream = self._streams[name]
            if stream is None or stream.closed:
                with contextlib.suppress(OSError):
                    self._streams[name] = stream = open(  # noqa: SIM115 - as long as the process
                        descriptor, "w", encoding="utf-8", errors="backslashreplace",
                        buffering=1, closefd=False,
                    )  # fmt: skip
            setattr(sys, name, stream)


def _is_closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False
