"""Position of a loop in C within a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import length_hint
from typing import Any


class Position:
    """Items for a loop in C, and the number of the item that the loop has taken last.

    `map` and `chain` call the user's functions without a step of ours for each item, so nothing
    counts the items on the way. An iterator over a list knows exactly how many are left, and
    `length_hint` reads that. `map` takes an item only when it calls the function with it: so the
    item taken last is the one at work.
    """

    __slots__ = ("_count", "items")

    def __init__(self, items: Sequence[Any]) -> None:
        self._count = len(items)
        self.items: Iterator[Any] = iter(items)

    @property
    def index(self) -> int:
        """Return the number of the item taken last, -1 before the first."""
        return self._count - length_hint(self.items) - 1
