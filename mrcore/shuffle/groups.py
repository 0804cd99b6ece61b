"""From a sorted stream to groups: many small ones at a time, or one that may be endless."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from mrcore.plugin.running import running
from mrcore.shuffle.columns import Columns
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


class Values(Iterator[Any]):
    """The values of a key as the user's function gets them: an iterator that may be read once.

    A second pass over them would find nothing, without a word: `max(values), sum(values)` would be
    (3, 0). So it raises. What `iter(values)` returns is an ordinary iterator that hands every value
    on in C and may be asked after its end, as `islice` does when it takes one batch after another.
    """

    __slots__ = ("_begun", "_rest")

    def __init__(self, values: Iterable[Any]) -> None:
        self._rest = chain(values)
        self._begun = False

    def __iter__(self) -> Iterator[Any]:
        """Return the values that are left; raise RuntimeError where a pass came to their end."""
        if self._begun and not any(map(_iterates, gc.get_referents(self._rest))):
            # A chain lets go of its iterators at its end, and only then. That cannot be asked of
            # it: what was read may have been the last value, and a further pass find no more.
            raise RuntimeError(
                "values can be read only once: to read them again, begin with values = list(values)"
            )
        self._begun = True
        return self._rest

    def __next__(self) -> Any:
        return next(self._rest)


def _iterates(held: object) -> bool:
    return hasattr(type(held), "__next__")


def values_of_groups(
    values: list[Any], starts: np.ndarray, ends: np.ndarray
) -> Iterable[Sequence[Any]]:
    """Return the values [starts[i], ends[i]) of each group, at least one.

    Tuples of one value are made in a fifth of the time of slices, and most groups may be that.
    """
    several = np.flatnonzero(ends - starts > 1)
    if 2 * len(several) > len(starts):
        return map(values.__getitem__, map(slice, starts.tolist(), ends.tolist()))
    found: list[Sequence[Any]] = list(zip(map(values.__getitem__, starts.tolist())))
    borders = zip(several.tolist(), starts[several].tolist(), ends[several].tolist(), strict=True)
    for place, start, end in borders:
        found[place] = values[start:end]
    return found


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
