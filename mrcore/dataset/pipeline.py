"""Pipelines: the operations of a dataset that run in one task, composed into one map function.

A pipeline makes elements of the pairs that a task reads, passes them through its operations, and
makes pairs again. All of it works on iterators, so no operation costs a call of ours per element.
This module is all that a task needs of a dataset, beside `mrcore.dataset.reducing`.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Any, Final, Protocol

from mrcore.plugin.functions import MapMany

Elements = Iterator[Any]
BATCH_ROWS: Final = 8_192
"""Rows of a batch for `map_batches`."""


class Lift(enum.Enum):
    """How the pairs that a task reads become elements."""

    VALUE = "value"
    KEY = "key"
    PAIR = "pair"
    ROWS = "rows"
    """Each value is a record batch; its rows are dicts."""
    BATCH = "batch"
    """Each value is a record batch, and so is each element."""


class Operation(Protocol):
    """One operation without a shuffle."""

    @property
    def title(self) -> str:
        """Return the operation as `explain` shows it."""
        ...

    def functions(self) -> Sequence[object]:
        """Return the functions of the user."""
        ...

    def over(self, elements: Elements) -> Elements:
        """Return what becomes of elements, lazily."""
        ...


def name_of(function: object) -> str:
    """Return the name of a function for `explain`."""
    return str(getattr(function, "__name__", None) or type(function).__name__)


class Each:
    """An operation that one function of the user makes of each element."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function

    @property
    def title(self) -> str:
        """Return the operation as `explain` shows it."""
        return f"{self.name}({name_of(self.function)})"

    def functions(self) -> Sequence[object]:
        """Return the function."""
        return (self.function,)

    def over(self, elements: Elements) -> Elements:
        """Return what the function makes of the elements."""
        return _EACH[self.name](self.function, elements)


def _map_values(function: Callable[[Any], Any], pairs: Elements) -> Elements:
    for key, value in pairs:
        yield key, function(value)


def _flat_map_values(function: Callable[[Any], Iterable[Any]], pairs: Elements) -> Elements:
    for key, value in pairs:
        for each in function(value):
            yield key, each


def _key_by(function: Callable[[Any], Any], elements: Elements) -> Elements:
    for element in elements:
        yield function(element), element


def _flat_map(function: Callable[[Any], Iterable[Any]], elements: Elements) -> Elements:
    return chain.from_iterable(map(function, elements))


_EACH: Final[dict[str, Callable[[Callable[..., Any], Elements], Elements]]] = {
    "map": map,
    "flat_map": _flat_map,
    "filter": filter,
    "map_values": _map_values,
    "flat_map_values": _flat_map_values,
    "key_by": _key_by,
}


class Pick:
    """The keys, or the values, of pairs."""

    def __init__(self, name: str, place: int) -> None:
        self.title: str = f"{name}()"
        self._place = place

    def functions(self) -> Sequence[object]:
        """Return nothing."""
        return ()

    def over(self, elements: Elements) -> Elements:
        """Return one half of each pair."""
        place = self._place
        return (pair[place] for pair in elements)


class Batches:
    """A function over record batches."""

    def __init__(self, function: Callable[[Any], Any], *, of_batches: bool = False) -> None:
        """With `of_batches` the elements are record batches already, else rows that are dicts."""
        self.function = function
        self._of_batches = of_batches

    @property
    def title(self) -> str:
        """Return the operation as `explain` shows it."""
        return f"map_batches({name_of(self.function)})"

    def functions(self) -> Sequence[object]:
        """Return the function."""
        return (self.function,)

    def over(self, elements: Elements) -> Elements:
        """Yield the rows of what the function makes of the batches, as dicts."""
        batches = elements if self._of_batches else _batches(elements)
        for batch in batches:
            yield from _rows(self.function(batch))


def _batches(rows: Elements) -> Elements:
    import pyarrow as pa

    while some := list(islice(rows, BATCH_ROWS)):
        yield pa.RecordBatch.from_pylist(some)


def _rows(found: Any) -> Iterator[dict[str, Any]]:
    """Return the rows of a record batch, a table, or a dict of columns."""
    if isinstance(found, dict):
        import pyarrow as pa

        found = pa.table(found)
    if not hasattr(found, "to_pylist"):
        raise TypeError(
            f"map_batches needs a RecordBatch, a Table or a dict of columns, and its function "
            f"returned {type(found).__name__}"
        )
    yield from found.to_pylist()


class Sample:
    """A random share of the elements, the same for the same seed.

    The draw depends on the record that an element comes from and its number there, so neither on
    the cut of the input nor on the number of tasks.
    """

    def __init__(self, fraction: float, seed: int) -> None:
        self.title: str = f"sample({fraction}, seed={seed})"
        self._limit = round(fraction * 2**64)
        self._seed = seed
        self._record = ""
        self._number = 0

    def functions(self) -> Sequence[object]:
        """Return nothing."""
        return ()

    def begin_record(self, record: object) -> None:
        """Take note of the record that the next elements come from."""
        self._record = repr(record)
        self._number = 0

    def over(self, elements: Elements) -> Elements:
        """Yield the elements that are drawn."""
        for element in elements:
            self._number += 1
            text = f"{self._seed}\0{self._number}\0{self._record}".encode(errors="replace")
            drawn = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
            if drawn < self._limit:
                yield element


class Lower(Protocol):
    """How elements become the pairs that a task writes."""

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Return the pairs of elements, lazily."""
        ...

    def functions(self) -> Sequence[object]:
        """Return the functions of the user."""
        ...


class AsPairs:
    """Elements that are pairs go on as they are."""

    def functions(self) -> Sequence[object]:
        """Return nothing."""
        return ()

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Return the elements."""
        return elements


class AsValues(AsPairs):
    """Each element is a value without a key."""

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Return pairs of nothing and the elements."""
        return zip(repeat(None), elements, strict=False)


class AsKeys(AsPairs):
    """Each element is a key; the value 1 counts it."""

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Return pairs of the elements and 1."""
        return zip(elements, repeat(1), strict=False)


class CountedKeys(AsPairs):
    """The keys of pairs; the value 1 counts each."""

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Yield pairs of the keys and 1."""
        for key, _ in elements:
            yield key, 1


class WithSide(AsPairs):
    """Pairs of which the value carries the number of its side of a join."""

    def __init__(self, side: int) -> None:
        self._side = side

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Yield the pairs with the side."""
        side = self._side
        for key, value in elements:
            yield key, (side, value)


class InOrder(AsPairs):
    """Elements under running numbers, so that those of one branch of a union stay together."""

    def __init__(self, branch: int) -> None:
        self._branch = branch
        self.number = 0

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Yield the elements with their numbers as keys."""
        for element in elements:
            self.number += 1
            yield (self._branch, self.number), element


class ByKey:
    """Elements under keys that a function of the user makes of them."""

    def __init__(self, function: Callable[[Any], Any], wrap: Callable[[Any], Any] | None) -> None:
        """`wrap` is applied to each key."""
        self._function = function
        self._wrap = wrap

    def functions(self) -> Sequence[object]:
        """Return the function."""
        return (self._function,)

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Yield pairs of keys and elements."""
        function, wrap = self._function, self._wrap
        for element in elements:
            key = function(element)
            yield key if wrap is None else wrap(key), element


class Folded:
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


class FirstOnes(AsPairs):
    """The first elements of each task."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.left = count

    def begin_task(self) -> None:
        """Begin to count anew."""
        self.left = self._count

    def over(self, elements: Elements) -> Iterator[tuple[Any, Any]]:
        """Yield elements until enough have come."""
        for element in islice(elements, self.left):
            self.left -= 1
            yield None, element


class Pipeline(MapMany):
    """The operations of one task of a dataset, as a map function."""

    __name__ = "map"

    def __init__(
        self,
        lift: Lift,
        operations: Sequence[Operation],
        lower: Lower,
        *,
        in_files: bool = True,
    ) -> None:
        """`in_files` means that a record is known by its key; else it is one of a numbered list."""
        self._in_files = in_files
        self.lift = lift
        self.operations = tuple(operations)
        self.lower = lower
        self._samples = [each for each in operations if isinstance(each, Sample)]

    @property
    def passes_on(self) -> bool:
        """Return whether pairs go through unchanged, so that no function is needed."""
        return self.lift is Lift.PAIR and not self.operations and type(self.lower) is AsPairs

    def functions(self) -> Sequence[object]:
        """Return the functions of the user."""
        parts = (*self.operations, self.lower)
        return [function for part in parts for function in part.functions()]

    def begin_task(self) -> None:
        """Forget what was counted in the task before."""
        if isinstance(self.lower, FirstOnes):
            self.lower.begin_task()
        elif isinstance(self.lower, InOrder):
            self.lower.number = 0

    @property
    def done(self) -> bool:
        """Return whether the task has given all that is wanted of it."""
        return isinstance(self.lower, FirstOnes) and self.lower.left <= 0

    def over(self, keys: Iterable[Any], values: Iterable[Any]) -> Iterator[Any]:
        """Return the pairs of records, lazily."""
        if not self._samples:
            return self._stream(keys, values)
        return chain.from_iterable(map(self._one, keys, values))

    def _one(self, key: Any, value: Any) -> Iterator[Any]:
        for sample in self._samples:
            sample.begin_record(key if self._in_files else key[1])
        return self._stream((key,), (value,))

    def _stream(self, keys: Iterable[Any], values: Iterable[Any]) -> Iterator[Any]:
        elements = _lifted(self.lift, keys, values)
        for operation in self.operations:
            elements = operation.over(elements)
        return self.lower.over(elements)


def _lifted(lift: Lift, keys: Iterable[Any], values: Iterable[Any]) -> Elements:
    if lift is Lift.PAIR:
        return zip(keys, values, strict=False)
    if lift is Lift.ROWS:
        return chain.from_iterable(map(_rows, values))
    return iter(keys) if lift is Lift.KEY else iter(values)
