"""Small functions of datasets: aggregates of whole datasets, and parts of means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import chain
from typing import Any

from mrcore.errors import UsageError
from mrcore.plugin.functions import Wrapper
from mrcore.util.texts import printable, text_of


def itself(element: Any) -> Any:
    """Return the element."""
    return element


def counted(value: Any) -> tuple[Any, int]:
    """Return a sum of one value, and its count."""
    return value, 1


def merged(one: tuple[Any, int], other: tuple[Any, int]) -> tuple[Any, int]:
    """Return two sums and counts as one."""
    return one[0] + other[0], one[1] + other[1]


def mean_of(found: tuple[Any, int]) -> Any:
    """Return the mean of a sum and a count."""
    return found[0] / found[1]


def size_of(elements: Iterator[Any]) -> int:
    """Return the number of elements."""
    return sum(1 for _ in elements)


class Over(Wrapper):
    """A function over all elements, where there are any; None where there are none."""

    def __init__(self, function: Callable[[Iterable[Any]], Any]) -> None:
        self._function = function

    def functions(self) -> Sequence[object]:
        """Return the function."""
        return (self._function,)

    def __call__(self, elements: Iterator[Any]) -> Any:
        """Return a tuple with the value, or None."""
        for first in elements:
            return (self._function(chain((first,), elements)),)
        return None


class FoldedBy(Wrapper):
    """A function of two over all elements."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self._function = function

    def functions(self) -> Sequence[object]:
        """Return the function."""
        return (self._function,)

    def __call__(self, elements: Iterable[Any]) -> Any:
        """Return what is left of the elements."""
        return reduce(self._function, elements)


def merge_all(action: str, merge: Callable[[Any, Any], Any], values: Sequence[Any]) -> Any:
    """Return the values of the tasks, at least one, merged; raise UsageError for two misfits."""
    result = values[0]
    for value in values[1:]:
        try:
            result = merge(result, value)
        except TypeError as error:
            both = (
                f"{printable(text_of(result, repr), 80)} and {printable(text_of(value, repr), 80)}"
            )
            raise UsageError(
                f"{action}() cannot take {both} together ({error}). Leave such elements out with "
                "filter, or map all to one type."
            ) from error
    return result


def mean_parts(elements: Iterable[Any]) -> tuple[Any, int]:
    """Return the sum and the count of elements."""
    return reduce(merged, map(counted, elements))
