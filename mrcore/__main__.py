"""The entry of `mrcore` and of `python -m mrcore`, as small as it can be.

Most of the start is imports, here and in the process that forks daemons. So that is started first.
Ctrl-C ends the process quietly while imports last: a KeyboardInterrupt would be reported with a
traceback, or lost, anywhere in them.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from itertools import pairwise
from types import FrameType

_INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with the documented code."""
    ending = _Ending()
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not under nohup
    if is_usual:
        signal.signal(signal.SIGINT, _leave)
    _fix_hash_seed(sys.argv)
    from mrcore.engine import launched

    launched.launch_early(sys.argv[1:])
    from mrcore.cli import main as command_line

    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command_line.main()
    except SystemExit as leave:
        if isinstance(leave.code, int):
            ending.code = leave.code
        raise
    finally:
        launched.end_early()


class _Ending:
    """Last of all exit handlers, which spares the rest of an ordinary end.

    To take hundreds of modules apart costs a tenth of the time of a small job.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        atexit.register(self._end)

    def _end(self) -> None:
        # With the inline engine user code has run here, and may rely on what Python does at last.
        if self.code is None or "mrcore.engine.inline" in sys.modules:
            return
        with contextlib.suppress(OSError, ValueError):  # the ordinary end reports these
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.code)


def _fix_hash_seed(words: list[str]) -> None:
    """Start anew with the workers' hash seed where these words ask for the inline engine.

    Code that walks over a set emits in the order of hashes, and only a start can choose the seed.
    """
    inline = "--engine=inline" in words or ("--engine", "inline") in pairwise(words)
    if inline and "PYTHONHASHSEED" not in os.environ:
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
