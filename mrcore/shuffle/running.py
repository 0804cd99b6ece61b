"""The user's function that runs now, noted where the note outlives the process.

An agent reads the note when its child has died: only what died in `map` did so of a record. Calls
are noted in bulk, some hundreds at a time, so that the note costs nothing per record.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from mmap import mmap
from typing import Any, Final

FUNCTIONS: Final = ("", "setup", "map", "combine", "partition", "sort_key", "reduce")
"""The names that can be noted, by their numbers; the first stands for code of ours."""
_NUMBERS: Final = {name: number for number, name in enumerate(FUNCTIONS)}


class _Note:
    """One byte: the number of the function."""

    def __init__(self) -> None:
        self.page: bytearray | mmap = bytearray(1)
        self.at = 0


_note: Final = _Note()


def note_in(page: bytearray | mmap, at: int) -> None:
    """Keep the note of this process at `at` in a page that others may read."""
    _note.page, _note.at = page, at


@contextlib.contextmanager
def running(function: str) -> Iterator[None]:
    """Note that this function of the user runs meanwhile."""
    page, at = _note.page, _note.at
    before = page[at]
    page[at] = _NUMBERS[function]
    try:
        yield
    finally:
        page[at] = before


def noted(function: str, items: Iterator[Any]) -> Iterator[Any]:
    """Yield the items of an iterator over the user's code, which is noted while it runs."""
    while True:
        with running(function):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
