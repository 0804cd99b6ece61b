"""The user's function that runs now, noted where the note outlives the process.

An agent reads the note when its child has died: only what died in `map` did so of a record. Calls
are noted in bulk, some hundreds at a time, so that the note costs nothing per record.

This is also where a copy of the process ends that user code made by `os.fork()`: it must not come
back to us and act as the task, or release what the task holds.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from mmap import mmap
from typing import Any, Final, NoReturn

from mrcore.plugin.functions import FUNCTIONS

CALL: Final = "call"
"""Stands for the functions that calls name."""
NOTED: Final = ("", *FUNCTIONS, CALL)
"""The names that can be noted, by their numbers; the first stands for all other code."""
_NUMBERS: Final = {name: number for number, name in enumerate(NOTED)}


class _Note:
    """One byte: the number of the function."""

    def __init__(self) -> None:
        self.page: bytearray | mmap = bytearray(1)
        self.at = 0


_note: Final = _Note()


def note_in(page: bytearray | mmap, at: int) -> None:
    """Keep the note of this process at `at` in a page that others may read."""
    _note.page, _note.at = page, at


def _number(function: str) -> int:
    """Return the number of a name such as `map`, or `map of step 2`."""
    number = _NUMBERS.get(function)
    return _NUMBERS[function.partition(" ")[0]] if number is None else number


@contextlib.contextmanager
def running(function: str = "") -> Iterator[None]:
    """Note that this function of the user runs meanwhile; end what it leaves as a forked copy."""
    page, at, process = _note.page, _note.at, os.getpid()
    before = page[at]
    page[at] = _number(function)
    try:
        yield
    except BaseException as error:
        if os.getpid() != process:
            _leave(error)
        page[at] = before
        raise
    if os.getpid() != process:
        _leave(None)
    page[at] = before


def _leave(error: BaseException | None) -> NoReturn:
    """End this copy of a process as Python would end it, without a step of ours."""
    status = 0
    with contextlib.suppress(BaseException):
        if isinstance(error, SystemExit):
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
            if status and not isinstance(error.code, int):
                print(error.code, file=sys.stderr)  # noqa: T201 - as Python does
        elif error is not None:
            status = 1
            traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(status & 0xFF)


def noted(function: str, items: Iterator[Any]) -> Iterator[Any]:
    """Yield the items of an iterator over the user's code, which is noted while it runs."""
    while True:
        with running(function):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
