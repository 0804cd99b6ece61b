"""Columns of values: native where a batch has one exact type that fits, pickled otherwise."""

from __future__ import annotations

import enum
import pickle
from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final

from mrcore.shuffle.arrow import Array, DataType, pa, pc
from mrcore.util.arrow_values import python_values
from mrcore.util.object_copies import PROTOCOL, Pickled, UnpicklableValueError, unpicklable_error
from mrcore.util.texts import text_of


class ValueKind(enum.IntEnum):
    """Representation of the values of a batch."""

    PICKLED = 0
    """Each value by itself; binary."""
    INT = 1
    FLOAT = 2
    STR = 3
    BYTES = 4
    BOOL = 5
    NONE = 6
    ARROW = 7
    """Another Arrow type, or one with nulls, that a user's RecordBatch brought along."""

    @property
    def type(self) -> DataType | None:
        """Return the Arrow type of the column, None where it is not fixed."""
        return _TYPES.get(self)


_TYPES: Final = {
    ValueKind.PICKLED: pa.binary(),
    ValueKind.INT: pa.int64(),
    ValueKind.FLOAT: pa.float64(),
    ValueKind.STR: pa.string(),
    ValueKind.BYTES: pa.binary(),
    ValueKind.BOOL: pa.bool_(),
    ValueKind.NONE: pa.null(),
}
_NATIVE: Final[dict[type, ValueKind]] = {
    int: ValueKind.INT,
    float: ValueKind.FLOAT,
    str: ValueKind.STR,
    bytes: ValueKind.BYTES,
    bool: ValueKind.BOOL,
    type(None): ValueKind.NONE,
}
_KINDS_OF_TYPES: Final = {
    type_: kind for kind, type_ in _TYPES.items() if kind is not ValueKind.PICKLED
}


def value_column(values: Sequence[object]) -> tuple[ValueKind, Array]:
    """Return the column of Python values; raise UnpicklableValueError.

    The exact type of every value is kept: True does not become 1, nor 1 a 1.0.
    """
    kinds = set(map(type, values))
    if Pickled in kinds:
        return ValueKind.PICKLED, _pickle_rest(values)
    if len(kinds) == 1:
        kind = _NATIVE.get(next(iter(kinds)))
        if kind is not None:
            try:
                column = pa.array(values, kind.type)
            except (UnicodeEncodeError, OverflowError, pa.ArrowException):
                pass  # a lone surrogate, or an int beyond 64 bits
            else:
                return kind, column
    return ValueKind.PICKLED, _pickle(values)


def _pickle(values: Sequence[object]) -> Array:
    out: list[bytes] = []
    try:
        # `extend` keeps what it got before an exception, and so tells which value it was.
        out.extend(map(pickle.dumps, values, repeat(PROTOCOL)))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - __reduce__ is the user's, and may raise anything
        raise UnpicklableValueError(len(out), text_of(error)) from None
    return pa.array(out, pa.binary())


def _pickle_rest(values: Sequence[object]) -> Array:
    """Return the column of values some of which have been pickled before."""
    out: list[object] = []
    try:
        out.extend(v if type(v) is Pickled else pickle.dumps(v, PROTOCOL) for v in values)
    except Exception as error:  # noqa: BLE001 - as in `_pickle`
        raise UnpicklableValueError(len(out), str(error)) from None
    return pa.array(out, pa.binary())


def pickled(column: Array) -> Array:
    """Return a native column as pickled values."""
    return _pickle(python_values(column))


def arrow_value_column(column: Array) -> tuple[ValueKind, Array]:
    """Return a column of a user's RecordBatch as it is carried: never converted but in layout."""
    column = plain(column)
    if not _self_contained(column.type):
        return ValueKind.PICKLED, pickled(column)
    kind = _KINDS_OF_TYPES.get(column.type)
    if kind is None or (column.null_count and kind is not ValueKind.NONE):
        kind = ValueKind.ARROW
    return kind, column


def _self_contained(type_: DataType) -> bool:
    """Return whether a batch of this type is one IPC message, without dictionaries beside it."""
    if pa.types.is_dictionary(type_) or isinstance(type_, pa.BaseExtensionType):
        return False
    return all(_self_contained(type_.field(i).type) for i in range(type_.num_fields))


def plain(column: Array) -> Array:
    """Return a column without a dictionary, run ends, views or 64-bit offsets."""
    type_ = column.type
    if pa.types.is_dictionary(type_):
        column = column.dictionary_decode()
    elif pa.types.is_run_end_encoded(type_):
        column = pc.run_end_decode(column)
    type_ = column.type
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return column.cast(pa.string())
    if pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_):
        return column.cast(pa.binary())
    return column


def to_python(kind: ValueKind, column: Array) -> list[Any]:
    """Return the values of a column as Python objects; raise DataError for what will not be one."""
    if kind is ValueKind.PICKLED:
        return _unpickled(column)
    if kind in (ValueKind.INT, ValueKind.FLOAT):
        values: list[Any] = column.to_numpy().tolist()  # many times faster than Arrow's
        return values
    return python_values(column)


def _unpickled(column: Array) -> list[Any]:
    try:
        return list(map(pickle.loads, column.to_pylist()))
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise unpicklable_error(error) from error
