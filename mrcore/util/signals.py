"""Signals that a process has been started to ignore, as by `nohup` or in the background."""

from __future__ import annotations

import signal


def not_ignored(*numbers: signal.Signals) -> tuple[signal.Signals, ...]:
    """Return those of the signals that whoever started this process has not made it ignore.

    A handler for one of the others would undo what was asked for: `nohup mrcore run` is to survive
    the end of the terminal.
    """
    return tuple(one for one in numbers if signal.getsignal(one) is not signal.SIG_IGN)
