"""The entry of `mrcore` and of `python -m mrcore`, as small as it can be.

Most of the start is imports. Ctrl-C ends the process quietly while they last: a KeyboardInterrupt
would be told with a traceback, or lost, anywhere in them.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

_INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with the documented code."""
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not under nohup
    if is_usual:
        signal.signal(signal.SIGINT, _leave)
    from mrcore.cli import main as command_line

    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command_line.main()


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
