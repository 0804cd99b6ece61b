"""Tracebacks as users want to see them: their own frames, and none of ours."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from mrcore.errors import InternalError
from mrcore.util.texts import MAX_TEXT, lines, one_line, text_of

_OUR_FOLDER: Final = f"{Path(__file__).resolve().parents[1]}{os.sep}"
_MACHINERY: Final = ("<frozen importlib", "<frozen runpy", "<frozen zipimport")
_MAX_CHAINED: Final = 20
"""Exceptions of a chain that are shown: those that were raised last."""
_HEAD: Final = 20_000
_TAIL: Final = 40_000
"""Characters that are kept of the two ends of a traceback that is too long."""


def user_traceback(error: BaseException) -> str:
    """Return the traceback as Python prints it, without our frames and the import machinery's.

    Frames of libraries that the user's code called stay: they are how it came there. What the
    exception holds is the user's: this never fails, and the text is fit for a terminal.
    """
    try:
        report = traceback.TracebackException.from_exception(error)
        left_out = "[mrcore left out earlier exceptions]\n" if _strip(report) else ""
        text = left_out + "".join(report.format())
    except KeyboardInterrupt:  # Ctrl-C in this moment ends the program, as in any other
        raise
    except BaseException:  # noqa: BLE001 - attributes and methods of the user's exception
        frames = _users(traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__)))
        name = type(error).__qualname__
        text = "".join([*frames.format(), f"{name}: {text_of(error)}"])
    text = lines(text.rstrip("\n"))
    if len(text) > _HEAD + _TAIL:
        dropped = len(text) - _HEAD - _TAIL
        text = f"{text[:_HEAD]}\n[mrcore left out {dropped:,} characters]\n{text[-_TAIL:]}"
    return text


def _strip(report: traceback.TracebackException) -> bool:
    """Drop our frames everywhere, and what is too much; return whether exceptions were dropped."""
    dropped = False
    seen: set[int] = set()
    waiting = [(report, 1)]
    while waiting:
        one, depth = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        one.stack = _users(one.stack)
        message = vars(one).get("_str")
        if isinstance(message, str) and len(message) > MAX_TEXT:
            vars(one)["_str"] = f"{message[: MAX_TEXT - 1]}…"
        if depth == _MAX_CHAINED and (one.__cause__ or one.__context__):
            one.__cause__ = one.__context__ = None
            dropped = True
        if _is_internal(one.__cause__):
            one.__cause__ = None
        if _is_internal(one.__context__):
            one.__context__ = None
        linked = (one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ()))
        waiting += [(other, depth + 1) for other in linked if other is not None]
    return dropped


def _is_internal(report: traceback.TracebackException | None) -> bool:
    """Return whether it is an exception that users never handle.

    One is in the chain of an exception of the user's that a second call has raised.
    """
    kind = None if report is None else report.exc_type
    return kind is not None and issubclass(kind, InternalError)


def user_line(error: BaseException) -> int | None:
    """Return the line of the user's code that the error came through last."""
    frames = _users(traceback.extract_tb(error.__traceback__))
    return frames[-1].lineno if frames else None


def _users(stack: Iterable[traceback.FrameSummary]) -> traceback.StackSummary:
    return traceback.StackSummary.from_list(
        [frame for frame in stack if not frame.filename.startswith((_OUR_FOLDER, *_MACHINERY))]
    )


def is_from(error: BaseException, sources: Sequence[str]) -> bool:
    """Return whether code of these sources raised the error, or called a library that did."""
    ours = users = -1
    frames: Iterable[tuple[FrameType, int]] = traceback.walk_tb(error.__traceback__)
    for depth, (frame, _) in enumerate(frames):
        name = frame.f_code.co_filename
        if name in sources:
            users = depth
        elif name.startswith(_OUR_FOLDER):
            ours = depth
    return users > ours


def missing_module_hint(error: BaseException) -> str:
    """Return what to do about a module that was not found; nothing for other errors.

    What is imported by a computed name does not travel with the plugin.
    """
    if not isinstance(error, ModuleNotFoundError):
        return ""
    return " (send a module of yours by --files, install others on every worker)"


def last_line(error: BaseException) -> str:
    """Return type and message, as in `ValueError: no`, on one line."""
    try:
        text = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    except KeyboardInterrupt:  # Ctrl-C in this moment ends the program, as in any other
        raise
    except BaseException:  # noqa: BLE001 - the user's exception
        text = f"{type(error).__qualname__}: {text_of(error)}"
    return one_line(text[:MAX_TEXT])
