"""Pipelines: the operations of a dataset that run in one task, composed into one map function.

A pipeline makes elements of the pairs that a task reads, passes them through its operations, and
makes pairs again. All of it works on iterators, so no operation costs a call of ours per element.
A task needs this module, `mrcore.dataset.lowers` and `mrcore.dataset.reducing`, and no other.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final, Protocol

from mrcore.dataset.lowers import (
    AsKeys,
    AsPairs,
    AsRows,
    AsValues,
    ByKey,
    CountedKeys,
    Elements,
    InOrder,
    Lower,
    WithSide,
)
from mrcore.plugin.functions import MapMany

BATCH_ROWS: Final = 8_192
"""Rows of a batch for `map_batches`."""
MAX_KEYS: Final = 10_000
"""Keys that part sums keep at a time."""
_BY_ELEMENT: Final = (AsKeys, AsPairs, AsRows, AsValues, ByKey, CountedKeys, InOrder, WithSide)
"""Makers of pairs that look at one element at a time."""
_PLAIN_KEYS: Final = frozenset((int, str, bytes))


class Lift(enum.Enum):
    """Form of the elements that the pairs of a task's input become."""

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


class PartSums:
    """The sum and the count of the values of each key, of the pairs that are at hand."""

    title = "part_sums()"

    def functions(self) -> Sequence[object]:
        """Return nothing."""
        return ()

    def over(self, elements: Elements) -> Elements:
        """Yield keys with sums and counts.

        Keys of other types than these go on one by one: they may equal each other, as 1 and True.
        """
        found: dict[Any, tuple[Any, int]] = {}
        for key, value in elements:
            if type(key) not in _PLAIN_KEYS:
                yield key, (value, 1)
                continue
            known = found.get(key)
            # Not in place: a value may be an array of the user's.
            found[key] = (value, 1) if known is None else (known[0] + value, known[1] + 1)
            if len(found) > MAX_KEYS:
                yield from found.items()
                found = {}
        yield from found.items()


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
        parts: list[Operation | Lower] = [*self.operations, self.lower]
        return [function for part in parts for function in part.functions()]

    def begin_task(self, index: int) -> None:
        """Forget what was counted in the task before."""
        self.lower.begin_task(index)

    @property
    def done(self) -> bool:
        """Return whether the task has given all that is wanted of it."""
        return self.lower.done

    @property
    def is_by_record(self) -> bool:
        """Return whether each record by itself gives the same pairs, and leaves nothing behind."""
        return isinstance(self.lower, _BY_ELEMENT) and all(
            isinstance(operation, Each | Pick | Sample) for operation in self.operations
        )

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
