"""The combiner: what `combine` may return, and aggregates over columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from mrcore.plugin.aggregates import Aggregate, AggregateKind, count
from mrcore.plugin.aggregates import sum as sum_
from mrcore.plugin.running import running
from mrcore.shuffle.arrow import Array, pa
from mrcore.shuffle.columns import Columns
from mrcore.shuffle.group_values import ValueList, Values, values_of_groups
from mrcore.shuffle.groups import Groups, GroupStream
from mrcore.shuffle.keys import key_column, keys_to_python, shown
from mrcore.shuffle.merge import SortedChunk
from mrcore.shuffle.user_code import (
    USER_EXCEPTIONS,
    PairReader,
    Pairs,
    UserCodeError,
    UserFunction,
    call_each,
    call_keeping,
    is_iterator_type,
    read_pairs,
    unpicklable,
)
from mrcore.shuffle.values import ValueKind, to_python, value_column
from mrcore.util.object_copies import PRESENT, SCALARS, Pickled, UnpicklableValueError, kept


class Combiner:
    """The user's `combine`, checked at every call.

    `counts_values` is set for `combine = mrcore.count`: 1 takes the place of each value that `map`
    emits, and the ones are added up. So the result is right however often the combiner runs.
    """

    def __init__(self, function: UserFunction, name: str = "combine") -> None:
        self.counts_values = (
            isinstance(function, Aggregate) and function.kind is AggregateKind.COUNT
        )
        self.function: UserFunction = sum_ if self.counts_values else function
        self.adds_up = isinstance(function, Aggregate) and function.kind is AggregateKind.SUM
        """Whether it adds up values as they are."""
        self.name = name
        """Name for notes and errors."""
        self.pickles = False
        """Whether any result had to be pickled: it is to be thawed before it is folded again."""

    def fold(self, key: Any, values: Iterable[Any]) -> list[Any]:
        """Return the values that stand for `values` from now on: one, none or several."""
        return list(chain.from_iterable(self._folded(key, values)))

    def _folded(self, key: Any, values: Iterable[Any]) -> Iterator[list[Any]]:
        """Yield what `fold` returns some at a time."""
        try:
            with running(self.name):
                result = self.function(key, Values(values))
        except USER_EXCEPTIONS as error:
            raise UserCodeError.raised(self.name, error, key=key, has_key=True) from error
        yield from self._left(key, result)

    def _left(self, key: Any, result: Any) -> Iterator[list[Any]]:
        """Yield the values that a result of the user's function stands for."""
        if result is None:
            return
        if not is_iterator_type(type(result)):
            yield [self._kept(key, result)]
            return
        reader = PairReader(self.name)
        while (pairs_read := self._read(reader, key, result))[0]:
            keys, values = pairs_read
            for other in keys:
                if type(other) is not type(key) or other != key:
                    raise self._changed_key(key, other)
            self.pickles |= reader.kept
            yield values

    def _read(self, reader: PairReader, key: Any, pairs: Iterator[Any]) -> Pairs:
        try:
            return read_pairs(reader, pairs)
        except UserCodeError as error:
            raise error.at_key(key) from error.error

    def _kept(self, key: Any, value: Any) -> Any:
        """Return a value as it is now: the function may return the same object for other keys."""
        if type(value) in SCALARS:
            return value
        try:
            value = kept(value)
        except UnpicklableValueError as error:
            raise unpicklable(self.name, key, value, error) from None
        self.pickles |= type(value) is Pickled
        return value

    def fold_many(self, keys: Sequence[Any], lists: Iterable[ValueList]) -> list[list[Any]]:
        """Return what stands for the values of each key, as `fold` does, with less ado."""
        if isinstance(self.function, Aggregate):
            results = call_each(self.name, self.function.function, keys, map(iter, lists))
        else:
            results = call_keeping(self.name, self.function, keys, lists, self._kept)
        if PRESENT.issuperset(map(type, results)):
            return [[result] for result in results]
        return [
            list(chain.from_iterable(self._left(key, result)))
            for key, result in zip(keys, results, strict=True)
        ]

    def combine_stream(self, chunks: Iterator[SortedChunk]) -> Iterator[Columns]:
        """Yield the sorted rows that are left of a sorted stream."""
        stream = GroupStream(chunks)
        for item in stream:
            if isinstance(item, Groups):
                yield from self._combine_groups(item)
            else:
                try:
                    for values in self._folded(item.key, item.values):
                        yield self._columns([item.key] * len(values), values)
                except UserCodeError:
                    stream.check()  # the user's function only passed it on
                    raise
                stream.check()

    def _combine_groups(self, groups: Groups) -> Iterator[Columns]:
        columns = groups.columns
        sums = aggregate_groups(self.function, groups)
        if sums is not None:
            keys = columns.keys.take(pa.array(groups.starts))
            yield Columns(columns.key_kind, keys, ValueKind.INT, sums)
            return
        keys = keys_to_python(columns.key_kind, columns.keys.take(pa.array(groups.starts)))
        values = to_python(columns.value_kind, columns.values)
        left = self.fold_many(keys, values_of_groups(values, groups.starts, groups.ends))
        out_keys = [key for key, some in zip(keys, left, strict=True) for _ in some]
        if out_keys:
            yield self._columns(out_keys, list(chain.from_iterable(left)))

    def _columns(self, keys: list[Any], values: list[Any]) -> Columns:
        """Return columns of keys that were checked before, and of any values."""
        key_kind, key_array = key_column(keys)
        try:
            value_kind, value_array = value_column(values)
        except UnpicklableValueError as error:
            raise unpicklable(self.name, keys[error.index], values[error.index], error) from None
        return Columns(key_kind, key_array, value_kind, value_array)

    def _changed_key(self, key: Any, other: Any) -> UserCodeError:
        problem = (
            f"{self.name} yielded the key {shown(other)} for the key {shown(key)}: a combiner must "
            "keep the key"
        )
        return UserCodeError(self.name, problem, key=key, has_key=True)


def reduce_after(reduce: UserFunction | None, combine: UserFunction | None) -> UserFunction | None:
    """Return what `reduce` has to be, given that `combine` has run: counts are added up."""
    if reduce is count and combine is count:
        return sum_
    return reduce


_UFUNCS: dict[AggregateKind, Callable[..., np.ndarray]] = {
    AggregateKind.SUM: np.add.reduceat,
    AggregateKind.MIN: np.minimum.reduceat,
    AggregateKind.MAX: np.maximum.reduceat,
}
_SAFE_SUM = 1 << 62


def aggregate_groups(function: UserFunction | None, groups: Groups) -> Array | None:
    """Return the aggregate of each group as int64, where columns give exactly what Python would.

    None for functions of the user, for values other than int64 (the sum of floats depends on the
    order of additions, so Python's is the one that counts), and for sums that might not fit.
    """
    if not isinstance(function, Aggregate):
        return None
    if function.kind is AggregateKind.COUNT:
        return pa.array(groups.ends - groups.starts, pa.int64())
    if groups.columns.value_kind is not ValueKind.INT:
        return None
    values = groups.columns.values.to_numpy()[: int(groups.ends[-1])]
    if function.kind is AggregateKind.SUM:
        largest = max(int(values.max()), -int(values.min()))
        if largest * int((groups.ends - groups.starts).max()) >= _SAFE_SUM:
            return None
    return pa.array(_UFUNCS[function.kind](values, groups.starts))
