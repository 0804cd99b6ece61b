"""Policy of grouping: when a table of keys is full, and whether combining pays. Pure.

It decides by counted rows and bytes alone, so that a second run of a task decides alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TRIAL_ROWS: Final = 32_768
"""Pairs after which it is decided for the first time whether keys repeat."""
FOLD_ROWS: Final = 2_097_152
"""Waiting values at which they are folded, however small they are."""
SUMS_KEYS: Final = 16_384
"""Keys at which sums are passed on: with more, each addition misses the processor's caches."""


@dataclass(slots=True)
class TableSize:
    """Size of what a table of keys holds.

    The bare loops do not count, so the pending rows and bytes are upper bounds between two calls of
    `recount`.
    """

    keys: int = 0
    keys_bytes: int = 0
    pending_rows: int = 0
    """Values that wait to be folded."""
    pending_bytes: int = 0
    folded_rows: int = 0
    """Values that are results of the combiner."""
    folded_bytes: int = 0

    @property
    def rows(self) -> int:
        """Return the number of values."""
        return self.pending_rows + self.folded_rows

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all keys and values."""
        return self.keys_bytes + self.folded_bytes + self.pending_bytes

    def recount(self, pending_rows: int) -> None:
        """Replace the bound on pending rows by their number; bytes shrink in proportion."""
        self.pending_bytes = self.pending_bytes * pending_rows // max(1, self.pending_rows)
        self.pending_rows = pending_rows


def is_trial_due(size: TableSize) -> bool:
    """Return whether there are enough pairs to judge by whether keys repeat."""
    return size.pending_rows >= TRIAL_ROWS


def keys_repeat(size: TableSize) -> bool:
    """Return whether a key has two pending values or more on average."""
    return 2 * size.keys <= size.pending_rows


def is_full_of_sums(size: TableSize, limit_bytes: int) -> bool:
    """Return whether sums are to be passed on."""
    return size.keys >= SUMS_KEYS or size.size_bytes > limit_bytes


def adding_pays(keys: int, rows: int) -> bool:
    """Return whether the keys are fewer than the pairs by a quarter or more."""
    return 4 * keys <= 3 * rows


def is_full(size: TableSize, limit_bytes: int, *, holds_rows: bool) -> bool:
    """Return whether values must be folded; `holds_rows` tells that each takes memory."""
    return size.size_bytes > limit_bytes or (holds_rows and size.pending_rows >= FOLD_ROWS)


def folding_pays(before_rows: int, left_rows: int) -> bool:
    """Return whether a fold left at most half of the values; a few values do not tell."""
    return 2 * left_rows <= before_rows or before_rows < TRIAL_ROWS


def must_flush(size: TableSize, limit_bytes: int) -> bool:
    """Return whether a folded table is still so large that it would soon be full again."""
    return 2 * size.size_bytes > limit_bytes
