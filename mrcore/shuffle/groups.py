"""From a sorted stream to groups: many small ones at a time, or one that may be endless."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from mrcore.plugin.running import running
from mrcore.shuffle.columns import Columns
from mrcore.shuffle.group_values import Values
from mrcore.shuffle.keys import keys_to_python
from mrcore.shuffle.merge import SortedChunk
from mrcore.shuffle.values import to_python

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Groups:
    """Whole groups: rows [starts[i], ends[i]) of the columns have one key."""

    columns: Columns
    starts: np.ndarray
    ends: np.ndarray


class LongGroup:
    """One group that ends nobody knows where; `values` may be read once, until the next group."""

    def __init__(self, key: Any, values: Iterator[Any]) -> None:
        self.key = key
        self.values = Values(values)


class GroupStream:
    """Iterates over the groups of a sorted stream, in order.

    The last group of each chunk is given as a LongGroup, since only the next chunk shows whether it
    goes on. What its taker leaves is skipped. Reading happens inside of the iterator that the
    user's function is given, where that function might swallow an exception: `failure` keeps it,
    and `check` raises it again.
    """

    def __init__(self, chunks: Iterator[SortedChunk]) -> None:
        self._chunks = chunks
        self._next: SortedChunk | None = None
        self.failure: BaseException | None = None

    def check(self) -> None:
        """Raise what went wrong while values were read."""
        if self.failure is not None:
            raise self.failure

    def __iter__(self) -> Iterator[Groups | LongGroup]:
        self._next = next(self._chunks, None)
        while (chunk := self._next) is not None:
            starts = np.flatnonzero(chunk.new)
            assert len(starts), "a chunk that only goes on was not drained"
            if len(starts) > 1:
                yield Groups(chunk.columns, starts[:-1], starts[1:])
            tail = chunk.columns.slice(int(starts[-1]), len(chunk.columns) - int(starts[-1]))
            values = self._values_of(tail)
            (key,) = keys_to_python(tail.key_kind, tail.keys.slice(0, 1))
            yield LongGroup(key, values)
            for _ in values:  # what the user's function left
                pass
            self.check()

    def _values_of(self, part: Columns) -> Iterator[Any]:
        """Yield the values of a group that begins with `part`; leave the rest in `_next`."""
        while True:
            yield from self._kept(partial(to_python, part.value_kind, part.values))
            with running():  # the user's function waits for us
                chunk = self._kept(lambda: next(self._chunks, None))
            self._next = chunk
            if chunk is None or chunk.new[0]:
                return
            begins = np.flatnonzero(chunk.new)
            end = int(begins[0]) if len(begins) else len(chunk.columns)
            part = chunk.columns.slice(0, end)
            if end < len(chunk.columns):
                rest = chunk.columns.slice(end, len(chunk.columns) - end)
                self._next = SortedChunk(rest, chunk.new[end:])
                yield from self._kept(partial(to_python, part.value_kind, part.values))
                return

    def _kept(self, read: Callable[[], T]) -> T:
        """Return what `read` does, and keep what it raises: the user's function may swallow it."""
        try:
            return read()
        except BaseException as error:
            self.failure = error
            raise
