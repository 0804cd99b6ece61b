"""The values of a key, as the user's functions are given them."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

ValueList: TypeAlias = Sequence[Any] | chain[Any]
"""Values of a key: a list, a tuple or a chain, whose iterators let go of what they read."""


class Values(Iterator[Any]):
    """The values of a key as the user's function gets them: an iterator that may be read once.

    A second pass over them would find nothing, without a word: `max(values), sum(values)` would be
    (3, 0). So it raises. What `iter(values)` returns is an ordinary iterator that hands every value
    on in C and may be asked after its end, as `islice` does when it takes one batch after another.
    """

    __slots__ = ("_begun", "_rest")
    _rest: Iterator[Any]
    """Iterator of a `ValueList`."""

    def __init__(self, values: Iterable[Any]) -> None:
        self._rest = chain(values)
        self._begun = False

    def __iter__(self) -> Iterator[Any]:
        """Return the values that are left; raise RuntimeError where a pass came to their end."""
        if self._begun and not any(map(_is_read, gc.get_referents(self._rest))):
            # An iterator lets go of what it reads at its end, and only then. That cannot be asked
            # of it: what was read may have been the last value, and a further pass find no more.
            raise RuntimeError(
                "values can be read only once: to read them again, begin with values = list(values)"
            )
        self._begun = True
        return self._rest

    def __next__(self) -> Any:
        return next(self._rest)


def _is_read(held: object) -> bool:
    """Return whether an iterator reads what it holds, which may be its type, too."""
    return type(held) in (list, tuple) or hasattr(type(held), "__next__")


def values_of_groups(
    values: list[Any], starts: np.ndarray, ends: np.ndarray
) -> Iterable[ValueList]:
    """Return the values [starts[i], ends[i]) of each group, at least one.

    Tuples of one value are made in a fifth of the time of slices, and most groups may be that.
    """
    several = np.flatnonzero(ends - starts > 1)
    if 2 * len(several) > len(starts):
        return map(values.__getitem__, map(slice, starts.tolist(), ends.tolist()))
    found: list[ValueList] = list(zip(map(values.__getitem__, starts.tolist())))
    borders = zip(several.tolist(), starts[several].tolist(), ends[several].tolist(), strict=True)
    for place, start, end in borders:
        found[place] = values[start:end]
    return found
