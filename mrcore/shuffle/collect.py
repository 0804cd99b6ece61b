"""Collecting what `map` emits: grouped in a dict while combining pays, in columns otherwise."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from sys import getsizeof
from typing import Any, Final

from mrcore.errors import KeyTypeError
from mrcore.shuffle.arrow import Array, RecordBatch, pa
from mrcore.shuffle.budget import Budget
from mrcore.shuffle.build import RunBuilder
from mrcore.shuffle.columns import Columns
from mrcore.shuffle.combine import Combiner, unpicklable
from mrcore.shuffle.encoding import encode_many
from mrcore.shuffle.keys import KeyTypes, arrow_key_column, key_column, shown
from mrcore.shuffle.user import (
    CAUGHT,
    UserCodeError,
    UserFunction,
    check_pair,
    check_pairs,
)
from mrcore.shuffle.values import (
    UnpicklableValueError,
    ValueKind,
    arrow_value_column,
    to_python,
    value_column,
)

BATCH_ROWS: Final = 8192
DRAW_ROWS: Final = 1024
"""Pairs alive at once while they are drawn: few enough for tuples to stay in the cache."""
_BATCH_BYTES: Final = 2 << 20
_FIRST_ROWS: Final = 16
"""Of the first batch, while nothing is known of the size of values."""
_HEAD_ROWS: Final = 32
_GROUP_ROWS: Final = 65_536
_FOLD_ROWS: Final = 524_288
_TRIAL_ROWS: Final = 32_768
_ENTRY_BYTES: Final = 200
"""Of a dict's entry and of the list that is its value."""
_LARGE_RECORD_BYTES: Final = 64 << 10

_SIZES: Final[dict[type, int]] = {int: 40, float: 32, bool: 8, type(None): 8}


class Collector:
    """Takes the pairs of a map task, and passes them on to a RunBuilder as columns."""

    def __init__(
        self,
        builder: RunBuilder,
        budget: Budget,
        *,
        combiner: Combiner | None = None,
        sort_key: UserFunction | None = None,
    ) -> None:
        assert combiner is None or sort_key is None, "a plugin that has both is refused"
        self.types = KeyTypes()
        self.pairs = 0
        """How many pairs `map` has emitted, as far as they have been counted."""
        self._builder = builder
        self._combiner = combiner
        self._sort_key = sort_key
        self._sort_types = KeyTypes()
        self._grouping: _Grouping | None = None
        if combiner is not None:
            self._grouping = _Grouping(self, combiner, budget.collect_bytes)
        self._rows = _FIRST_ROWS

    def start_batch(self, records: int, size_bytes: int) -> None:
        """Tell of the input that the next pairs come from: huge records may make huge values."""
        if size_bytes > _LARGE_RECORD_BYTES * records:
            self._rows = min(self._rows, _FIRST_ROWS)

    def add(self, pairs: Iterator[Any]) -> None:
        """Take all pairs that an iterator over the user's `map` yields.

        Raises UserCodeError for what the user's functions raise and KeyTypeError.
        """
        if self._grouping is not None:
            rest = self._grouping.add(pairs)
            if rest is None:
                return
            self._grouping = None
            pairs = rest
        while drawn := self._draw(pairs):
            self.add_batch(*drawn)

    def _draw(self, pairs: Iterator[Any]) -> tuple[list[Any], list[Any]] | None:
        keys: list[Any] = []
        values: list[Any] = []
        while len(keys) < self._rows:
            few = draw(pairs, min(DRAW_ROWS, self._rows - len(keys)))
            if not few:
                break
            keys += [key for key, _ in few]
            values += [value for _, value in few]
        return (keys, values) if keys else None

    def add_batch(self, keys: Sequence[Any], values: Sequence[Any]) -> None:
        """Take pairs as two lists, as `map` has emitted them."""
        self.pairs += len(keys)
        keys = self.types.check(keys)
        if self._combiner is not None and self._combiner.lift:
            values = [1] * len(values)
        columns = self.columns(keys, values)
        self._builder.add(columns)
        # So many rows next time that they come to the bytes of a batch; growing by steps.
        fitting = max(1, len(keys) * _BATCH_BYTES // max(1, columns.size_bytes))
        self._rows = min(BATCH_ROWS, 2 * self._rows, fitting)

    def columns(self, keys: Sequence[Any], values: Sequence[Any]) -> Columns:
        """Return columns of keys that were checked."""
        key_kind, key_array = key_column(keys)
        try:
            value_kind, value_array = value_column(values)
        except UnpicklableValueError as error:
            raise unpicklable("map", keys[error.index], values[error.index], error) from None
        order = None if self._sort_key is None else self._order(keys, values)
        return Columns(key_kind, key_array, value_kind, value_array, order)

    def _order(self, keys: Sequence[Any], values: Sequence[Any]) -> Array:
        assert self._sort_key is not None
        found: list[Any] = []
        try:
            found.extend(map(self._sort_key, values))
        except CAUGHT as error:
            key = keys[len(found)]
            raise UserCodeError.raised("sort_key", error, key=key, has_key=True) from error
        try:
            return encode_many(self._sort_types.check(found))
        except KeyTypeError as error:
            raise KeyTypeError(f"sort_key returned what cannot be sorted: {error}") from None

    def add_arrow(self, table: RecordBatch) -> None:
        """Take a RecordBatch or Table with the columns `key` and `value`."""
        for batch in arrow_batches("map", table):
            self.pairs += batch.num_rows
            key_kind, keys = arrow_key_column(batch.column("key"), self.types)
            if self._combiner is not None and self._combiner.lift:
                value_kind, values = ValueKind.INT, pa.repeat(pa.scalar(1, pa.int64()), len(keys))
            else:
                value_kind, values = arrow_value_column(batch.column("value"))
            order = None
            if self._sort_key is not None:
                python = to_python(value_kind, values)
                order = self._order(python, python)
            self._builder.add(Columns(key_kind, keys, value_kind, values, order))

    def pass_on(self, columns: Columns) -> None:
        """Hand columns to the builder."""
        self._builder.add(columns)

    def spill(self) -> None:
        """Have the builder write what it holds to the local disk."""
        self._builder.spill()

    def finish(self) -> None:
        """Pass on what is still held."""
        if self._grouping is not None:
            self._grouping.flush()


def arrow_batches(function: str, table: Any) -> Iterator[RecordBatch]:
    """Yield the batches of what a function over RecordBatches gave; raise UserCodeError."""
    if isinstance(table, pa.RecordBatch):
        batches: Iterable[RecordBatch] = [table]
    elif isinstance(table, pa.Table):
        batches = table.to_batches(max_chunksize=1 << 20)
    else:
        raise UserCodeError(
            function,
            f"{function} gave {shown(table)}: with --input-format arrow it must give a RecordBatch "
            "or Table with the columns key and value",
        )
    if not {"key", "value"} <= set(table.schema.names):
        raise UserCodeError(
            function,
            f"{function} gave the columns {', '.join(table.schema.names)}: it must give the "
            "columns key and value",
        )
    for batch in batches:
        if batch.num_rows:
            yield batch


def draw(pairs: Iterator[Any], rows: int) -> list[Any]:
    """Return the next pairs that the user's `map` yields, checked to be pairs."""
    try:
        drawn = list(islice(pairs, rows))
    except UserCodeError:
        raise
    except CAUGHT as error:
        raise UserCodeError.raised("map", error) from error
    check_pairs("map", drawn)
    return drawn


class _Grouping:
    """Pairs grouped by key in a dict; lists of values are folded by the combiner now and then.

    Measured: 100 ns a pair over the generator's own time, where columns, a sort and a sum over
    them take 250.
    """

    def __init__(self, owner: Collector, combiner: Combiner, limit_bytes: int) -> None:
        self._owner = owner
        self._combiner = combiner
        self._limit_bytes = limit_bytes
        self._groups: dict[Any, list[Any]] = {}
        self._tried = False
        self._rows = DRAW_ROWS
        self._keys_bytes = 0
        self._folded_rows = 0
        self._folded_bytes = 0
        self._pending_rows = 0
        """At most so many values wait to be folded."""
        self._value_bytes = 40

    def add(self, pairs: Iterator[Any]) -> Iterator[Any] | None:
        """Take all pairs; return None, or those that are left when columns are better from here.

        Each round begins with a few pairs that are looked at closely: their sizes stand for those
        of the round. The rest runs through a bare loop.
        """
        while head := draw(pairs, _HEAD_ROWS):
            before = len(self._groups)
            self._add_checked(head)
            if self._hazardous():
                return self._leave(pairs)
            kind = type(head[0][0])
            rows = min(self._rows, max(64, self._limit_bytes // (8 * self._value_bytes)))
            if kind in (str, bytes) and self._only(kind):
                foreign = self._add_fast(pairs, rows, kind)
                if foreign is not None:
                    pairs = chain((foreign,), pairs)
            else:
                self._add_checked(draw(pairs, DRAW_ROWS))
                if self._hazardous():
                    return self._leave(pairs)
            self._pending_rows += len(head) + rows
            self._rows = min(_GROUP_ROWS, 2 * self._rows)
            self._count_new_keys(len(self._groups) - before)
            if not self._worthwhile():
                return self._leave(pairs)
        return None

    def _hazardous(self) -> bool:
        """Tell whether a dict would take two keys for one."""
        return self._owner.types.collide

    def _only(self, kind: type) -> bool:
        return self._owner.types.only(kind)

    def _add_checked(self, pairs: list[Any]) -> None:
        """Group a few pairs, whatever their keys are, unless that would be hazardous."""
        if not pairs:
            return
        keys = self._owner.types.check([key for key, _ in pairs])
        values = [value for _, value in pairs]
        if self._combiner.lift:
            values = [1] * len(values)
        self._value_bytes = max(8, _sizes(values) // len(values))
        if self._hazardous():
            self._owner.pairs += len(keys)
            self._flush_columns(keys, values)
            return
        groups = self._groups
        for key, value in zip(keys, values, strict=True):
            found = groups.get(key)
            if found is not None:
                found.append(value)
            else:
                groups[key] = [value]

    def _add_fast(self, pairs: Iterator[Any], rows: int, kind: type) -> Any:
        """Group up to `rows` pairs; stop at a key of another type, and return that pair.

        All keys so far are `str` (or `bytes`), which are equal to nothing of another type, so that
        a foreign key is always a new one. Pairs are looked at where their key is new too: "ab" is
        no pair, though it can be unpacked.
        """
        groups = self._groups
        get = groups.get
        lift = self._combiner.lift
        pair: Any = None
        key: Any = None
        try:
            for pair in islice(pairs, rows):
                key, value = pair
                if lift:
                    value = 1
                found = get(key)
                if found is not None:
                    found.append(value)
                elif type(key) is kind and type(pair) is tuple:
                    groups[key] = [value]
                else:
                    return pair
        except UserCodeError:
            raise
        except CAUGHT as error:
            if pair is not None:
                check_pair("map", pair)
                self._owner.types.check([pair[0]])  # a list, say, is no key of a dict
            raise UserCodeError.raised("map", error) from error
        return None

    def _count_new_keys(self, count: int) -> None:
        new = islice(reversed(self._groups), count)
        self._keys_bytes += sum(map(_key_bytes, new)) + count * _ENTRY_BYTES

    def _worthwhile(self) -> bool:
        """Fold and flush what is due; return False when too few keys repeat."""
        if not self._tried and self._pending_rows >= _TRIAL_ROWS:
            self._pending_rows = self._count_pending()
            if self._pending_rows >= _TRIAL_ROWS:
                self._tried = True
                if 2 * len(self._groups) > self._pending_rows:
                    return False
        full = self._size_bytes() > self._limit_bytes
        if not full and self._pending_rows < _FOLD_ROWS:
            return True
        self._pending_rows = self._count_pending()
        full = self._size_bytes() > self._limit_bytes
        if not full and self._pending_rows < _FOLD_ROWS:
            return True
        before = self._pending_rows + self._folded_rows
        self.fold()
        pays = 2 * self._folded_rows <= before or before < _TRIAL_ROWS
        if 2 * self._size_bytes() > self._limit_bytes:
            self.flush()
            self._owner.spill()
        return pays

    def _size_bytes(self) -> int:
        return self._keys_bytes + self._folded_bytes + self._pending_rows * self._value_bytes

    def _count_pending(self) -> int:
        return sum(map(len, self._groups.values())) - self._folded_rows

    def fold(self) -> None:
        """Combine the values of every key that has more than one."""
        self._owner.pairs += self._count_pending()
        groups = self._groups
        keys = [key for key, values in groups.items() if len(values) > 1]
        left = self._combiner.fold_many(keys, map(groups.__getitem__, keys))
        groups.update(zip(keys, left, strict=True))
        if [] in left:
            for key in [key for key, values in groups.items() if not values]:
                del groups[key]
        self._pending_rows = 0
        folded = list(chain.from_iterable(groups.values()))
        self._folded_rows = len(folded)
        self._folded_bytes = _sizes(folded)

    def flush(self) -> None:
        """Pass all groups on as columns, folded; the dict is empty afterwards."""
        self.fold()
        items = iter(self._groups.items())
        while some := list(islice(items, BATCH_ROWS)):
            keys = [key for key, values in some for _ in values]
            self._flush_columns(keys, list(chain.from_iterable(values for _, values in some)))
        self._groups.clear()
        self._keys_bytes = self._folded_bytes = self._folded_rows = 0

    def _flush_columns(self, keys: Sequence[Any], values: Sequence[Any]) -> None:
        self._owner.pass_on(self._owner.columns(keys, values))

    def _leave(self, pairs: Iterator[Any]) -> Iterator[Any]:
        self.flush()
        return pairs


def _key_bytes(key: Any) -> int:
    size = getsizeof(key)
    return size + sum(map(_key_bytes, key)) if type(key) is tuple else size


def _sizes(values: Sequence[Any]) -> int:
    """Return about how many bytes values take as Python objects, counted, not measured."""
    kinds = set(map(type, values))
    if kinds <= _SIZES.keys():
        return sum(_SIZES[kind] for kind in kinds) // len(kinds) * len(values) if kinds else 0
    total = 0
    for value in values:
        kind = type(value)
        if kind in _SIZES:
            total += _SIZES[kind]
        elif kind in (str, bytes):
            total += 64 + len(value)
        else:
            total += _deep_size(value)
    return total


def _deep_size(value: Any) -> int:
    try:
        return 128 + 3 * len(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    except Exception:  # noqa: BLE001 - the error is told when the value itself has to be pickled
        return 128
