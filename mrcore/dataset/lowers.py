"""Makers of the pairs that a task of a dataset writes, from the elements behind its operations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, repeat
from typing import Any

Elements = Iterator[Any]


class Lower(ABC):
    """Maker of the pairs that a task writes, from elements."""

    @abstractmethod
    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Return the pairs of elements, lazily."""

    def functions(self) -> Sequence[object]:
        """Return the functions of the user."""
        return ()

    def begin_task(self, index: int) -> None:  # noqa: B027 - most count nothing
        """Forget what was counted in the task before; `index` is the task's number."""

    @property
    def done(self) -> bool:
        """Return whether the task has given all that is wanted of it."""
        return False


class AsPairs(Lower):
    """Elements that are pairs go on as they are."""

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Return the elements."""
        return elements


class AsValues(Lower):
    """Each element is a value without a key."""

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Return pairs of nothing and the elements."""
        return zip(repeat(None), elements, strict=False)


class AsKeys(Lower):
    """Each element is a key; the value 1 counts it."""

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Return pairs of the elements and 1."""
        return zip(elements, repeat(1), strict=False)


class CountedKeys(Lower):
    """The keys of pairs; the value 1 counts each."""

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Yield pairs of the keys and 1."""
        for key, _ in elements:
            yield key, 1


class WithSide(Lower):
    """Pairs of which the value carries the number of its side of a join."""

    def __init__(self, side: int) -> None:
        self._side = side

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Yield the pairs with the side."""
        side = self._side
        for key, value in elements:
            yield key, (side, value)


class InOrder(Lower):
    """Elements under the numbers of branch and task, and running ones: they keep their order."""

    def __init__(self, branch: int) -> None:
        self._branch = branch
        self._task = 0
        self._number = 0

    def begin_task(self, index: int) -> None:
        """Begin to count anew."""
        self._task = index
        self._number = 0

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Yield the elements with their numbers as keys."""
        for element in elements:
            self._number += 1
            yield (self._branch, self._task, self._number), element


class ByKey(Lower):
    """Elements under keys that a function of the user makes of them."""

    def __init__(self, function: Callable[[Any], Any], order: Callable[[Any], Any]) -> None:
        """`order` makes of each key one that sorts as the order wants it."""
        self._function = function
        self._order = order

    def functions(self) -> Sequence[object]:
        """Return the function."""
        return (self._function,)

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Yield pairs of keys and elements."""
        function, order = self._function, self._order
        for element in elements:
            yield order(function(element)), element


class Folded(Lower):
    """All elements that are at hand at one time, as one value."""

    def __init__(self, fold: Callable[[Elements], Any]) -> None:
        """`fold` returns None where there is no element."""
        self._fold = fold

    def functions(self) -> Sequence[object]:
        """Return the function."""
        return (self._fold,)

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Yield the value, if there is one."""
        value = self._fold(elements)
        if value is not None:
            yield None, value


class FirstOnes(Lower):
    """The first elements of each task."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._left = count

    def begin_task(self, index: int) -> None:
        """Begin to count anew."""
        del index
        self._left = self._count

    @property
    def done(self) -> bool:
        """Return whether enough elements have come."""
        return self._left <= 0

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Yield elements until enough have come."""
        for element in islice(elements, self._left):
            self._left -= 1
            yield None, element


class AsRows(Lower):
    """Dicts as rows, pairs as they are, and anything else by itself."""

    def __init__(self, *, text: bool) -> None:
        """In a format of text an element is a line; in others a row with the column `value`."""
        self._text = text

    def over(self, elements: Elements) -> Iterator[Any]:
        """Yield rows and pairs."""
        for element in elements:
            is_pair = type(element) is tuple and len(element) == 2
            if is_pair or (not self._text and isinstance(element, dict)):
                yield element
            elif self._text:
                yield element, None
            else:
                yield {"value": element}
