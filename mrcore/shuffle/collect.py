"""Collecting what `map` emits: grouped in a dict while combining pays, in columns otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from mrcore.errors import KeyTypeError
from mrcore.plugin.running import running
from mrcore.shuffle.arrow import Array, RecordBatch, pa
from mrcore.shuffle.budget import Budget
from mrcore.shuffle.build import RunBuilder
from mrcore.shuffle.column_totals import ColumnTotals
from mrcore.shuffle.columns import Columns
from mrcore.shuffle.combine import Combiner
from mrcore.shuffle.encoding import encode_many
from mrcore.shuffle.grouping import FAST_ROWS, Grouping
from mrcore.shuffle.keys import KeyTypes, arrow_key_column, key_column, shown
from mrcore.shuffle.user_code import (
    READ_BYTES,
    READ_ROWS,
    USER_EXCEPTIONS,
    PairReader,
    ResultPairs,
    UserCodeError,
    UserFunction,
    call_each,
    read_pairs,
    unpicklable,
)
from mrcore.shuffle.values import (
    ValueKind,
    arrow_value_column,
    to_python,
    value_column,
)
from mrcore.util.number_order import ascending
from mrcore.util.object_copies import SCALARS, UnpicklableValueError, thawed_list

BATCH_ROWS: Final = 8192
_FIRST_ROWS: Final = 16
"""Rows of the first batch, while the size of values is unknown."""
_ORDERED: Final = frozenset((str, bytes, float, type(None)))
"""Types of sort keys that are in order as they are."""
_DICT_ROWS: Final = 65_536
"""Items of one dict that become columns at once."""
_LARGE_RECORD_BYTES: Final = 64 << 10


class Collector:
    """Takes the pairs of one task, and passes them on to a RunBuilder as columns."""

    def __init__(
        self,
        builder: RunBuilder,
        budget: Budget,
        *,
        combiner: Combiner | None = None,
        sort_key: UserFunction | None = None,
        sort_key_name: str = "sort_key",
    ) -> None:
        assert combiner is None or sort_key is None, "a plugin that has both is refused"
        self.types = KeyTypes()
        self._pairs = 0
        self._builder = builder
        self._combiner = combiner
        self._sort_key = sort_key
        self._sort_key_name = sort_key_name
        self._sort_types = KeyTypes()
        self._grouping: Grouping | None = None
        if combiner is not None:
            self._grouping = Grouping(
                combiner, self.types, self._add_grouped, builder.spill, budget.collect_bytes
            )
        self._totals: ColumnTotals | None = None
        if combiner is not None and (combiner.adds_up or combiner.counts_values):
            self._totals = ColumnTotals(builder.add, budget.collect_bytes // 4)
        self._take = builder.add if self._totals is None else self._totals.add
        self._rows = _FIRST_ROWS
        self._reader = PairReader("map")

    @property
    def pairs(self) -> int:
        """Return how many pairs were emitted; complete after `finish`."""
        return self._pairs + (0 if self._grouping is None else self._grouping.pairs)

    @property
    def number_kinds(self) -> dict[str, str]:
        """Return the number type of each position of the keys."""
        return self.types.number_kinds

    def start_batch(self, records: int, size_bytes: int) -> None:
        """Announce the input of the next pairs: huge records may make huge values."""
        if size_bytes > _LARGE_RECORD_BYTES * records:
            self._rows = min(self._rows, _FIRST_ROWS)

    def add(self, pairs: Iterator[Any], function: str, at_most: int = FAST_ROWS) -> None:
        """Take all pairs that an iterator over the user's function of this name yields.

        `at_most` bounds their number, where it is known.
        Raises UserCodeError for what the user's functions raise and KeyTypeError.
        """
        self._reader.function = function
        groups = self._combiner is not None and not self._combiner.adds_up
        if not groups and isinstance(pairs, ResultPairs):
            self._add_dicts(pairs, function)
        if self._grouping is not None:
            rest = self._grouping.add(pairs, function, at_most)
            if rest is None:
                return
            self._pairs += self._grouping.pairs
            self._grouping = None
            pairs = rest
        while pairs_read := self._read(pairs):
            self.add_batch(*pairs_read)

    def _add_dicts(self, pairs: ResultPairs, function: str) -> None:
        """Take the dicts of ints that the pairs begin with, such as Counters, as columns."""
        items = pairs.items_of_dicts(_DICT_ROWS)
        while True:
            keys: list[Any] = []
            values: list[int] = []
            try:
                with running(function):
                    for some_keys, some_values in items:
                        keys += some_keys
                        values += some_values
                        if len(keys) >= self._rows:
                            break
            except UserCodeError:
                raise
            except USER_EXCEPTIONS as error:
                raise UserCodeError.raised(function, error) from error
            if not keys:
                return
            self.add_batch(keys, values)

    def _read(self, pairs: Iterator[Any]) -> tuple[list[Any], list[Any]] | None:
        keys: list[Any] = []
        values: list[Any] = []
        while len(keys) < self._rows:
            rows = min(READ_ROWS, self._rows - len(keys))
            few_keys, few_values = read_pairs(self._reader, pairs, rows)
            keys += few_keys
            values += few_values
            if len(few_keys) < rows:
                break  # at the end, or among large values
        return (keys, values) if keys else None

    def add_batch(self, keys: Sequence[Any], values: Sequence[Any]) -> None:
        """Take pairs as two lists, as the user's function has emitted them."""
        self._pairs += len(keys)
        keys = self.types.check(keys)
        if self._combiner is not None and self._combiner.counts_values:
            values = [1] * len(values)
        columns = self.columns(keys, values)
        self._take(columns)
        # So many rows next time that they come to the bytes of a batch; growing by steps.
        fitting = max(1, len(keys) * READ_BYTES // max(1, columns.size_bytes))
        self._rows = min(BATCH_ROWS, 2 * self._rows, fitting)

    def judge(self, keys: Sequence[Any], values: Sequence[Any]) -> None:
        """Raise for pairs that cannot be columns, and take none.

        Keys that were checked and plain values always can, so columns of them are not made.
        """
        keys = self.types.check(keys)
        if self._sort_key is not None or not SCALARS.issuperset(map(type, values)):
            self.columns(keys, values)

    def columns(self, keys: Sequence[Any], values: Sequence[Any]) -> Columns:
        """Return columns of keys that were checked."""
        key_kind, key_array = key_column(keys, self.types.one)
        try:
            value_kind, value_array = value_column(values)
        except UnpicklableValueError as error:
            raise unpicklable(
                self._reader.function, keys[error.index], values[error.index], error
            ) from None
        order = None if self._sort_key is None else self._order(keys, values)
        return Columns(key_kind, key_array, value_kind, value_array, order)

    def _order(self, keys: Sequence[Any], values: Sequence[Any]) -> Array:
        assert self._sort_key is not None
        found = call_each(self._sort_key_name, self._sort_key, keys, thawed_list(values))
        if not _ORDERED.issuperset(map(type, found)):
            found = list(map(ascending, found))
        try:
            return encode_many(self._sort_types.check(found))
        except KeyTypeError as error:
            raise KeyTypeError(
                f"{self._sort_key_name} returned what cannot be sorted: {error}"
            ) from None

    def add_columns(self, key_array: Array, value_array: Array) -> None:
        """Take pairs as columns; raise KeyTypeError."""
        self._pairs += len(key_array)
        key_kind, keys = arrow_key_column(key_array, self.types)
        if self._combiner is not None and self._combiner.counts_values:
            value_kind, values = ValueKind.INT, pa.repeat(pa.scalar(1, pa.int64()), len(keys))
        else:
            value_kind, values = arrow_value_column(value_array)
        order = None
        if self._sort_key is not None:
            python = to_python(value_kind, values)
            order = self._order(python, python)
        self._take(Columns(key_kind, keys, value_kind, values, order))

    def _add_grouped(self, keys: Sequence[Any], values: Sequence[Any]) -> None:
        self._take(self.columns(keys, values))

    def finish(self) -> None:
        """Pass on what is still held."""
        if self._grouping is not None:
            self._grouping.flush()
        if self._totals is not None:
            self._totals.flush()


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
