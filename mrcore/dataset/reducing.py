"""Combiners and reducers of datasets, for the pairs of one key."""

from __future__ import annotations

import copy
import functools
import heapq
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from mrcore.plugin import aggregates
from mrcore.plugin.aggregates import Aggregate, AggregateKind
from mrcore.plugin.functions import Wrapper
from mrcore.util.object_copies import SCALARS

Pairs = Iterator[tuple[Any, Any]]


class Reducing(Wrapper):
    """A function of (key, values) over a function of the user."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def functions(self) -> Sequence[object]:
        """Return the function of the user."""
        return (self.function,)


class Folding(Reducing):
    """Values folded by a function of two, as `functools.reduce` does."""

    def __call__(self, key: Any, values: Iterable[Any]) -> Any:
        """Return what is left of the values of a key."""
        result = functools.reduce(self.function, values)
        return iter([(key, None)]) if result is None else result


def _added(values: Iterable[Any]) -> Any:
    return functools.reduce(operator.add, values)


class _Adding(Aggregate):
    """The sum by `+` of anything; of whole numbers over columns."""

    def __reduce__(self) -> str:
        return "ADDING"


ADDING: Final = _Adding(AggregateKind.SUM, _added)
_KNOWN: Final[dict[Any, Aggregate]] = {
    operator.add: ADDING,
    operator.iadd: ADDING,
    min: aggregates.min,
    max: aggregates.max,
}


def folding(function: Callable[[Any, Any], Any]) -> Aggregate | Folding:
    """Return the reducer of a function of two; one that columns can compute where it is known."""
    try:
        known = _KNOWN.get(function)
    except TypeError:  # a callable that cannot be hashed
        known = None
    return known or Folding(function)


class Beginning(Reducing):
    """The first step of an aggregate: a value taken into a new accumulator."""

    def __init__(self, zero: Any, function: Callable[[Any, Any], Any]) -> None:
        super().__init__(function)
        self._zero = zero
        self._copies = type(zero) not in SCALARS

    __name__ = "begin"

    def __call__(self, value: Any) -> Any:
        """Return an accumulator with one value."""
        return self.function(copy.deepcopy(self._zero) if self._copies else self._zero, value)


def gathered(key: Any, values: Iterable[Any]) -> list[Any]:
    """Return the values of a key."""
    del key
    return list(values)


def passed(key: Any, values: Iterable[Any]) -> Pairs:
    """Yield the pairs as they are."""
    for value in values:
        yield key, value


class OfGroups(Reducing):
    """A function of a key and an iterator over its values, which returns elements."""

    def __call__(self, key: Any, values: Iterable[Any]) -> Pairs:
        """Yield the elements without keys."""
        for element in self.function(key, values):
            yield None, element


def _by_side(values: Iterable[tuple[int, Any]], sides: int) -> list[list[Any]]:
    found: list[list[Any]] = [[] for _ in range(sides)]
    for side, value in values:
        found[side].append(value)
    return found


class Cogrouping(Wrapper):
    """The values of each side of a cogroup, as lists."""

    def __init__(self, sides: int) -> None:
        self._sides = sides

    def functions(self) -> Sequence[object]:
        """Return nothing."""
        return ()

    def __call__(self, key: Any, values: Iterable[tuple[int, Any]]) -> tuple[list[Any], ...]:
        """Return a list for each side."""
        del key
        return tuple(_by_side(values, self._sides))


class Joining(Wrapper):
    """Each value of the left side with each of the right.

    The left side comes first, since its stages have lower numbers. So only it is held.
    """

    needs_order = True
    """The values have to come in the order of the sides."""

    def __init__(self, *, keep_left: bool = False, keep_right: bool = False) -> None:
        self._keep_left = keep_left
        self._keep_right = keep_right

    def functions(self) -> Sequence[object]:
        """Return nothing."""
        return ()

    def __call__(self, key: Any, values: Iterable[tuple[int, Any]]) -> Pairs:
        """Yield the pairs of a key."""
        left: list[Any] = []
        met = False
        for side, value in values:
            if side == 0:
                left.append(value)
                continue
            met = True
            for other in left:
                yield key, (other, value)
            if not left and self._keep_right:
                yield key, (None, value)
        if not met and self._keep_left:
            for other in left:
                yield key, (other, None)


class Largest(Wrapper):
    """The largest elements."""

    def __init__(self, count: int, key: Callable[[Any], Any] | None) -> None:
        self._count = count
        self._key = key

    def functions(self) -> Sequence[object]:
        """Return the function of the user."""
        return () if self._key is None else (self._key,)

    def __call__(self, key: Any, values: Iterable[Any]) -> Pairs:
        """Yield the largest of the elements, the largest first; of equal ones the first."""
        for value in heapq.nlargest(self._count, values, key=self._key):
            yield key, value
