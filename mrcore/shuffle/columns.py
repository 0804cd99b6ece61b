"""A batch of pairs as Arrow columns: what is sorted, written, merged and grouped."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from mrcore.shuffle.arrow import Array, DataType, pa
from mrcore.shuffle.encoding import encode_column
from mrcore.shuffle.picking import Picker
from mrcore.shuffle.values import ValueKind, pickled

MAX_ROWS_BYTES: Final = 1 << 30
"""Largest batch: the offsets of Arrow's string and binary columns have 31 bits."""
LARGE_ROW_BYTES: Final = 64 << 10
"""From here on rows are picked one by one from where they are, rather than joined first."""
SORTING_ROW_BYTES: Final = 96
"""Row numbers, chunks of keys and their copies in order, at the worst time."""


class KeyKind(enum.IntEnum):
    """Representation of the keys of a batch."""

    ENCODED = 0
    """Any keys, by `mrcore.shuffle.encoding`; binary."""
    STR = 1
    INT = 2
    FLOAT = 3
    """Neither NaN nor -0.0."""
    BYTES = 4

    @property
    def type(self) -> DataType:
        """Return the Arrow type of the column."""
        return _KEY_TYPES[self]


_KEY_TYPES: Final = {
    KeyKind.ENCODED: pa.binary(),
    KeyKind.STR: pa.string(),
    KeyKind.INT: pa.int64(),
    KeyKind.FLOAT: pa.float64(),
    KeyKind.BYTES: pa.binary(),
}


def _bytes_of(column: Array) -> int:
    """Return the bytes that rows take, the same however they have come about.

    Arrow's own count includes a bitmap of validity, which some of its functions make for nothing.
    """
    type_ = column.type
    if not (pa.types.is_string(type_) or pa.types.is_binary(type_)):
        return int(column.nbytes)
    _, offsets, _ = column.buffers()
    if offsets is None or not len(column):
        return 0
    ends = np.frombuffer(offsets, np.int32)
    start = column.offset
    return 4 * len(column) + int(ends[start + len(column)]) - int(ends[start])


@dataclass(frozen=True, slots=True)
class Columns:
    """Pairs, column by column: `keys` and `values` of one length, and `order` where values sort.

    `order` holds the encoded `sort_key` of each value.
    """

    key_kind: KeyKind
    keys: Array
    value_kind: ValueKind
    values: Array
    order: Array | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def size_bytes(self) -> int:
        """Return the bytes that the rows take, whatever buffers they are slices of."""
        order = 0 if self.order is None else _bytes_of(self.order)
        return _bytes_of(self.keys) + _bytes_of(self.values) + order

    @property
    def sorting_bytes(self) -> int:
        """Return the bytes that the rows take, and those that sorting them will."""
        return self.size_bytes + SORTING_ROW_BYTES * len(self)

    def slice(self, start: int, length: int) -> Columns:
        """Return rows [start, start + length), without a copy."""
        order = None if self.order is None else self.order.slice(start, length)
        keys, values = self.keys.slice(start, length), self.values.slice(start, length)
        return Columns(self.key_kind, keys, self.value_kind, values, order)

    def encoded(self) -> Columns:
        """Return the same rows with encoded keys."""
        if self.key_kind is KeyKind.ENCODED:
            return self
        keys = encode_column(self.keys)
        return Columns(KeyKind.ENCODED, keys, self.value_kind, self.values, self.order)

    def pickled(self) -> Columns:
        """Return the same rows with pickled values."""
        if self.value_kind is ValueKind.PICKLED:
            return self
        values = pickled(self.values)
        return Columns(self.key_kind, self.keys, ValueKind.PICKLED, values, self.order)


@dataclass(frozen=True, slots=True)
class Layout:
    """Representation of keys and values that batches to be joined share."""

    key_kind: KeyKind
    value_kind: ValueKind
    value_type: DataType

    @classmethod
    def of(cls, batch: Columns) -> Layout:
        """Return the layout of one batch."""
        return cls(batch.key_kind, batch.value_kind, batch.values.type)

    def join(self, other: Layout) -> Layout:
        """Return the layout that both can be brought to without losing anything."""
        key_kind = self.key_kind if self.key_kind is other.key_kind else KeyKind.ENCODED
        if self.value_kind is other.value_kind and self.value_type.equals(other.value_type):
            return Layout(key_kind, self.value_kind, self.value_type)
        return Layout(key_kind, ValueKind.PICKLED, pa.binary())

    def apply(self, batch: Columns) -> Columns:
        """Bring `batch`, whose layout joined this one, to it."""
        if batch.key_kind is not self.key_kind:
            batch = batch.encoded()
        if batch.value_kind is not self.value_kind or batch.values.type != self.value_type:
            batch = batch.pickled()
        return batch


EMPTY_LAYOUT: Final = Layout(KeyKind.ENCODED, ValueKind.PICKLED, pa.binary())


def common_layout(batches: Sequence[Columns]) -> Layout:
    """Return the layout that all batches (at least one) can be brought to."""
    layout = Layout.of(batches[0])
    for batch in batches[1:]:
        layout = layout.join(Layout.of(batch))
    return layout


def concat(batches: Sequence[Columns]) -> Columns:
    """Join batches (at least one) into one, in order."""
    if len(batches) == 1:
        return batches[0]
    layout = common_layout(batches)
    batches = [layout.apply(batch) for batch in batches]
    order = None
    if batches[0].order is not None:
        order = pa.concat_arrays([batch.order for batch in batches])
    return Columns(
        layout.key_kind,
        pa.concat_arrays([batch.keys for batch in batches]),
        layout.value_kind,
        pa.concat_arrays([batch.values for batch in batches]),
        order,
    )


class RowSource:
    """Batches (at least one) seen as one, of which rows are to be taken in another order.

    Joined into one batch while rows are small. Large ones would then be held twice, so they stay
    where they are.
    """

    def __init__(self, batches: Sequence[Columns]) -> None:
        rows = sum(map(len, batches))
        self.size_bytes = sum(batch.size_bytes for batch in batches)
        self._batches: Sequence[Columns] = ()
        if len(batches) == 1 or self.size_bytes < LARGE_ROW_BYTES * rows:
            heads = self.heads = concat(batches)
            columns = (heads.keys, heads.values, heads.order)
            self._pickers = [None if column is None else Picker(column) for column in columns]
            return
        layout = common_layout(batches)
        self._batches = [layout.apply(batch) for batch in batches]
        self._ends = np.cumsum([len(batch) for batch in batches])
        self.heads = concat([_without_values(batch) for batch in self._batches])

    heads: Columns
    """The keys of all rows and their order; the values mean nothing."""

    def __len__(self) -> int:
        return len(self.heads)

    def take(self, rows: np.ndarray) -> Columns:
        """Return the rows of these numbers, at least one, in that order."""
        if not self._batches:
            return self._take_heads(pa.array(rows))
        picked = []
        for row, index in zip(
            rows.tolist(), np.searchsorted(self._ends, rows, side="right").tolist(), strict=True
        ):
            batch = self._batches[index]
            picked.append(batch.slice(row - int(self._ends[index]) + len(batch), 1))
        return concat(picked)

    def _take_heads(self, rows: Array) -> Columns:
        keys, values, order = (
            None if picker is None else picker.take(rows) for picker in self._pickers
        )
        return Columns(self.heads.key_kind, keys, self.heads.value_kind, values, order)


def _without_values(batch: Columns) -> Columns:
    nothing = pa.nulls(len(batch))
    return Columns(batch.key_kind, batch.keys, ValueKind.NONE, nothing, batch.order)
