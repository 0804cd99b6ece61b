"""The k-way merge of sorted runs, block by block, stable, and never more than a block of each."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mrcore.shuffle.columns import Columns, KeyKind, Layout, RowSource
from mrcore.shuffle.keys import keys_to_python
from mrcore.shuffle.sorting import prefixes, sort_rows

CHUNK_ROWS: Final = 32_768
CHUNK_BYTES: Final = 2 << 20


@dataclass(frozen=True, slots=True)
class SortedChunk:
    """Some rows of a sorted stream, and where keys begin in them.

    `new` has a bool a row; the first shows whether the chunk begins a key or goes on with the last
    one of the chunk before.
    """

    columns: Columns
    new: np.ndarray


def sort_in_memory(source: RowSource) -> Iterator[SortedChunk]:
    """Yield the rows in sorted order, in chunks of bounded size."""
    order, new = sort_rows(source.heads)
    yield from take_chunks(source, order, new)


def take_chunks(
    source: RowSource, order: np.ndarray, new: np.ndarray, multiple: int = 1
) -> Iterator[SortedChunk]:
    """Yield some rows in this order, in chunks of bounded size.

    They have a multiple of `multiple` rows, all but the last one, where the bound leaves room.
    """
    rows = chunk_rows(len(source), source.size_bytes)
    if rows > multiple:
        rows -= rows % multiple
    for start in range(0, len(order), rows):
        yield SortedChunk(source.take(order[start : start + rows]), new[start : start + rows])


def chunk_rows(rows: int, size_bytes: int) -> int:
    """Return the number of rows of a chunk."""
    return max(1, min(CHUNK_ROWS, rows * CHUNK_BYTES // max(1, size_bytes)))


class _Run:
    """One run of a merge: its current block, and how far that has been taken."""

    __slots__ = ("_blocks", "_layout", "block", "last", "last_prefix", "prefixes", "start")

    def __init__(self, blocks: Iterator[Columns], layout: Layout) -> None:
        self._blocks = blocks
        self._layout = layout

    def advance(self) -> bool:
        """Go to the next block; return False at the end."""
        for block in self._blocks:
            if len(block):
                self.block = self._layout.apply(block)
                self.start = 0
                self.prefixes = prefixes(self.block.key_kind, self.block.keys)
                self.last_prefix = int(self.prefixes[-1])
                self.last = _place(self.block, len(block) - 1)
                return True
        return False

    def count(self, bound: _Place, bound_prefix: int, *, inclusive: bool) -> int:
        """Return the number of the first row that is beyond the bound (or at it)."""
        side = np.uint64(bound_prefix)
        low = int(np.searchsorted(self.prefixes, side, side="left"))
        high = int(np.searchsorted(self.prefixes, side, side="right"))
        low, high = max(low, self.start), max(high, self.start)
        if low == high:
            return low
        find = bisect_right if inclusive else bisect_left
        return low + find(range(low, high), bound, key=lambda row: _place(self.block, row))

    def take(self, end: int) -> Columns:
        part = self.block.slice(self.start, end - self.start)
        self.start = end
        return part


_Place = tuple[Any, bytes]
"""A key and the sort key of its value: Python compares them as the columns sort."""


def _place(block: Columns, row: int) -> _Place:
    key: Any
    if block.key_kind is KeyKind.ENCODED:
        key = block.keys[row].as_py()
    else:
        (key,) = keys_to_python(block.key_kind, block.keys.slice(row, 1))
    return key, b"" if block.order is None else block.order[row].as_py()


def merge(runs: Sequence[Iterable[Columns]], layout: Layout) -> Iterator[SortedChunk]:
    """Merge sorted runs of blocks; equal rows come in the order of their runs.

    `layout` is one that the layouts of all runs join to. Each round takes the rows up to the
    smallest last row of all blocks, so at least one block is used up.
    """
    live = [run for run in (_Run(iter(blocks), layout) for blocks in runs) if run.advance()]
    previous: Any = None
    begun = False
    while live:
        parts = _round(live)
        source = RowSource(parts)
        order, new = sort_rows(source.heads)
        first_key = _place(source.heads, int(order[0]))[0]
        new[0] = not begun or first_key != previous
        previous, begun = _place(source.heads, int(order[-1]))[0], True
        if len(parts) > 1:
            yield from take_chunks(source, order, new)
        else:
            yield from _cut(parts[0], new)
        del parts, source  # before more is read
        live = [run for run in live if run.start < len(run.block) or run.advance()]


def _round(live: Sequence[_Run]) -> list[Columns]:
    """Take what is sure to come next from each run."""
    # The first of the runs whose last row is the bound may go on with equal rows in its next
    # block. Those come before equal rows of later runs, which therefore have to wait.
    bounding = min(range(len(live)), key=lambda index: live[index].last)
    bound, bound_prefix = live[bounding].last, live[bounding].last_prefix
    parts = []
    for index, run in enumerate(live):
        if index == bounding:
            end = len(run.block)
        else:
            end = run.count(bound, bound_prefix, inclusive=index < bounding)
        if end > run.start:
            parts.append(run.take(end))
    return parts


def _cut(batch: Columns, new: np.ndarray) -> Iterator[SortedChunk]:
    rows = chunk_rows(len(batch), batch.size_bytes)
    for start in range(0, len(batch), rows):
        part = batch.slice(start, min(rows, len(batch) - start))
        yield SortedChunk(part, new[start : start + rows])
