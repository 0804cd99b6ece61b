"""Aggregates that may stand for `reduce` and `combine`: `reduce = combine = mrcore.sum`.

They work as functions of (key, values) like those a user writes, and are known to the shuffle,
which computes them over columns where that gives exactly the same.
"""

from __future__ import annotations

import builtins
import enum
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final


class AggregateKind(enum.Enum):
    """Kinds of aggregates."""

    SUM = "sum"
    COUNT = "count"
    MIN = "min"
    MAX = "max"


class Aggregate:
    """A function of (key, values) that the shuffle knows."""

    def __init__(
        self, kind: AggregateKind, function: Callable[[Iterable[Any]], Any], text: str = ""
    ) -> None:
        self.kind = kind
        self.__name__ = kind.value
        self.__doc__ = text or type(self).__doc__
        self.function = function
        """The same of the values alone."""

    def __call__(self, key: Any, values: Iterable[Any]) -> Any:
        """Return the aggregate of the values; the key plays no part."""
        return self.function(values)

    def __repr__(self) -> str:
        return f"mrcore.{self.kind.value}"

    def __reduce__(self) -> str:
        # A global name of this module: pickled functions find the one object again.
        return self.kind.value


_SOME: Final = 8192
_PLAIN: Final = frozenset((int, float, bool))


def _sum(values: Iterable[Any]) -> Any:
    """Add up values as `sum` does; numbers of numpy as Python's, which do not wrap around."""
    total: Any = 0
    remaining = iter(values)  # `values` itself refuses to be begun anew at its end
    while some := list(islice(remaining, _SOME)):
        if not _PLAIN.issuperset(map(type, some)):
            some = [value.item() if _is_scalar(value) else value for value in some]
        total = builtins.sum(some, total)
    return total


def _is_scalar(value: Any) -> bool:
    return type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0


def _count(values: Iterable[Any]) -> int:
    return builtins.sum(1 for _ in values)


sum: Final = Aggregate(  # noqa: A001 - it is mrcore.sum
    AggregateKind.SUM, _sum, "Return the sum of the values of a key."
)
count: Final = Aggregate(
    AggregateKind.COUNT,
    _count,
    "Return the number of values of a key. Where it is `combine` too, the reduce adds the counts.",
)
min: Final = Aggregate(  # noqa: A001 - it is mrcore.min
    AggregateKind.MIN, builtins.min, "Return the smallest value of a key."
)
max: Final = Aggregate(  # noqa: A001 - it is mrcore.max
    AggregateKind.MAX, builtins.max, "Return the largest value of a key."
)
