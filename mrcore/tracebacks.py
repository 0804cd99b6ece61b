"""Tracebacks as users want to see them: their own frames, and none of ours."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Final

_OUR_FOLDER: Final = f"{Path(__file__).resolve().parent}{os.sep}"
_MACHINERY: Final = ("<frozen importlib", "<frozen runpy", "<frozen zipimport")


def user_traceback(error: BaseException) -> str:
    """Return the traceback as Python prints it, without our frames and the import machinery's.

    Frames of libraries that the user's code called stay: they are how it came there.
    """
    report = traceback.TracebackException.from_exception(error)
    _strip(report, set())
    return "".join(report.format()).rstrip("\n")


def _strip(report: traceback.TracebackException, seen: set[int]) -> None:
    if id(report) in seen:
        return
    seen.add(id(report))
    report.stack = traceback.StackSummary.from_list(
        [
            frame
            for frame in report.stack
            if not frame.filename.startswith((_OUR_FOLDER, *_MACHINERY))
        ]
    )
    linked = [report.__cause__, report.__context__, *(getattr(report, "exceptions", None) or ())]
    for other in linked:
        if other is not None:
            _strip(other, seen)


def last_line(error: BaseException) -> str:
    """Return type and message, as in `ValueError: no`, on one line."""
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
