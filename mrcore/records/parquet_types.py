"""The parquet type of a column, judged by the exact Python types of what it holds.

Arrow converts where it can: 1.5 to an int column becomes 1, a datetime in a date column loses its
time, a field that a struct does not have is dropped. So it is never asked to: whatever is not of
the type of the values before it is refused here. There is one exception: ints become floats
beside floats, where each of them is within 2**53, so that its float equals it.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any, Final

import pyarrow as pa

from mrcore.records.outputs import MAX_LEVELS

LEAVES: Final[dict[type, pa.DataType]] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    datetime.date: pa.date32(),
    datetime.time: pa.time64("us"),
    datetime.timedelta: pa.duration("us"),
}
_FREE: Final = frozenset((bool, bytes, datetime.date, datetime.timedelta))
"""Types of which every value goes into parquet."""
_NAIVE: Final = "datetime"
_AWARE: Final = "datetime with a time zone"
_DECIMAL: Final = "Decimal"
_LIST: Final = "list"
_DICT: Final = "dict"
_DECIMAL_DIGITS: Final = 38
_NUMBERS: Final = frozenset((int, float))
_WHOLE_IN_FLOAT: Final = 1 << 53


class MisfitError(Exception):
    """A value does not go with those before it, or with parquet; the message says why."""


class Column:
    """The type of a column, or of what its lists or dicts hold, as far as values have shown it.

    None goes with every type.
    """

    def __init__(self, levels: int = MAX_LEVELS) -> None:
        """`levels` is how many levels of lists and dicts there may be below."""
        self._levels = levels
        self._kind: str | type | None = None
        self._element: Column | None = None
        self._fields: dict[str, Column] = {}
        self._scale = 0
        self._lowest = self._highest = 0
        """Bounds of the ints so far."""

    @property
    def complete(self) -> bool:
        """Return whether no part of the type is still unknown, for lack of values but None."""
        if self._kind is None or (self._kind == _DICT and not self._fields):
            return False
        below = [self._element] if self._element is not None else []
        return all(column.complete for column in (*below, *self._fields.values()))

    @property
    def arrow_type(self) -> pa.DataType:
        """Return the type; what is unknown is null."""
        kind = self._kind
        if isinstance(kind, type):
            return LEAVES[kind]
        if kind == _NAIVE:
            return pa.timestamp("us")
        if kind == _AWARE:
            return pa.timestamp("us", "UTC")
        if kind == _DECIMAL:
            return pa.decimal128(_DECIMAL_DIGITS, self._scale)
        if self._element is not None:
            return pa.list_(self._element.arrow_type)
        if kind == _DICT:
            return pa.struct([(name, column.arrow_type) for name, column in self._fields.items()])
        return pa.null()

    def state(self, fields: Mapping[str, type]) -> None:
        """Make it a dict with these fields; types that need to see a value stay open."""
        self._become(_DICT)
        for name, kind in fields.items():
            self._fields[name] = self._new(kind if kind in LEAVES else None)

    def add(self, values: Sequence[Any]) -> None:
        """Let the type hold these values; raise MisfitError."""
        kinds = set(map(type, values)) - {type(None)}
        if len(kinds) == 1 and kinds <= _FREE:
            self._become(next(iter(kinds)))
            return
        if kinds == {str} and _encodable(values):
            self._become(str)
            return
        if kinds and kinds <= _NUMBERS:
            ints = [value for value in values if type(value) is int]
            if self._takes_numbers(ints, has_floats=float in kinds):
                return
        # By columns: a call for each value would take most of the time of writing.
        if kinds == {list}:
            self._add_elements([value for value in values if value is not None])
            return
        if kinds == {dict}:
            self._add_fields([value for value in values if value is not None])
            return
        for value in values:
            if value is not None:
                self._add(value)

    def _takes_numbers(self, ints: Sequence[int], *, has_floats: bool) -> bool:
        """Let the type hold ints, and floats if there are any, or return False."""
        if self._kind is not None and self._kind not in _NUMBERS:
            return False
        lowest, highest = min(ints, default=0), max(ints, default=0)
        lowest, highest = min(lowest, self._lowest), max(highest, self._highest)
        is_float = has_floats or self._kind is float
        if is_float and (lowest < -_WHOLE_IN_FLOAT or highest > _WHOLE_IN_FLOAT):
            return False
        if not _fits(lowest) or not _fits(highest):
            return False
        self._kind = float if is_float else int
        self._lowest, self._highest = lowest, highest
        return True

    def _add(self, value: Any) -> None:
        kind = _leaf(value)
        if kind is not None:
            _check_leaf(value)
            self._add_leaf(value, kind)
        elif isinstance(value, datetime.datetime):
            if getattr(value, "nanosecond", 0):
                raise MisfitError("its nanoseconds would be lost")
            self._become(_NAIVE if value.tzinfo is None else _AWARE)
        elif isinstance(value, Decimal):
            self._add_decimal(value)
        elif isinstance(value, list | tuple):
            self._add_elements([value])
        elif isinstance(value, dict):
            self._add_fields([value])
        else:
            raise MisfitError(f"parquet has no {type(value).__qualname__}")

    def _add_leaf(self, value: Any, kind: type) -> None:
        if kind not in _NUMBERS or self._kind not in (None, *_NUMBERS):
            self._become(kind)
        elif not self._takes_numbers([value] if kind is int else [], has_floats=kind is float):
            large = "it" if kind is int else "an int before it"
            raise MisfitError(
                f"beside floats an int may be at most 2**53, so that its float equals it, and "
                f"{large} is larger"
            )

    def _new(self, kind: type | None = None) -> Column:
        if not self._levels:
            raise MisfitError(f"it has more than {MAX_LEVELS} levels of lists and dicts")
        column = Column(self._levels - 1)
        column._kind = kind
        return column

    def _become(self, kind: str | type) -> None:
        if self._kind is None:
            self._kind = kind
        elif self._kind != kind:
            raise MisfitError(
                f"it is of type {_name(kind)}, others are of type {_name(self._kind)}"
            )

    def _add_decimal(self, value: Decimal) -> None:
        self._become(_DECIMAL)
        exponent = value.as_tuple().exponent
        if not isinstance(exponent, int):
            raise MisfitError(f"parquet has no decimal {value}")
        self._scale = max(self._scale, -exponent)
        if value.adjusted() + 1 + self._scale > _DECIMAL_DIGITS:
            raise MisfitError(f"decimals in parquet have at most {_DECIMAL_DIGITS} digits")

    def _add_elements(self, values: Sequence[Sequence[Any]]) -> None:
        self._become(_LIST)
        self._element = self._element or self._new()
        self._element.add(list(chain.from_iterable(values)))

    def _add_fields(self, values: Sequence[dict[Any, Any]]) -> None:
        self._become(_DICT)
        found: dict[Any, list[Any]] = {}
        for value in values:
            for name, item in value.items():
                found.setdefault(name, []).append(item)
        for name, items in found.items():
            if type(name) is not str:
                raise MisfitError(f"the key {name!r} of a dict is not a str")
            if name not in self._fields:
                self._fields[name] = self._new()
            self._fields[name].add(items)


def _leaf(value: Any) -> type | None:
    """Return the type of LEAVES that a value has, or that its class derives from."""
    kind = type(value)
    if kind in LEAVES:
        return kind
    if isinstance(value, datetime.datetime):
        return None
    return next((leaf for leaf in LEAVES if isinstance(value, leaf)), None)


def _check_leaf(value: Any) -> None:
    if isinstance(value, int) and not _fits(value):
        raise MisfitError("an int beyond 64 bits does not go into parquet")
    if isinstance(value, datetime.time) and value.tzinfo is not None:
        raise MisfitError("parquet has no time with a time zone")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise MisfitError("it has a lone surrogate, which UTF-8 cannot hold") from None


def _encodable(values: Sequence[Any]) -> bool:
    try:
        "".join(filter(None, values)).encode()
    except UnicodeEncodeError:
        return False
    return True


def _fits(number: int) -> bool:
    return -(1 << 63) <= number < 1 << 63


def _name(kind: str | type) -> str:
    return kind if isinstance(kind, str) else kind.__name__
