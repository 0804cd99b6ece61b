"""The columns of the rows of one part: stated by the job, or gathered from the first rows.

Rows are dicts by column. A part whose columns are not stated holds its first 65,536 rows, or 8 Mi
characters of text, before it writes any: columns that these have are those of the part. Which rows
are held depends on the rows alone, so that equal rows are equal bytes.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

from mrcore.errors import DataError
from mrcore.model.columns import COLUMN_TYPES, Columns
from mrcore.records.outputs import shortened

HELD_ROWS: Final = 65536
HELD_CHARS: Final = 8 << 20
_NONE: Final = type(None)
_WHOLE_IN_FLOAT: Final = 1 << 53
CELLS: Final = frozenset(
    (str, int, float, bool, _NONE, datetime.date, datetime.datetime, datetime.time, Decimal)
)
"""Types that one cell of a line can hold."""
Row = dict[str, Any]


class RowTable:
    """Takes the rows of a part, and returns those whose columns are settled."""

    def __init__(self, stated: Columns = ()) -> None:
        self._stated = dict(stated)
        self._types = {name: COLUMN_TYPES[kind] for name, kind in stated}
        self._known = dict.fromkeys(self._types)
        self._held: list[Row] = []
        self._chars = 0
        self._rows = 0
        self.settled = bool(stated)
        """Whether the columns change no more."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the columns so far, in order."""
        return tuple(self._known)

    def add(self, rows: Iterable[Row]) -> list[Row]:
        """Take rows; return those that can be written now, which may be none or earlier ones.

        With stated columns they come back with all of these, in order. Raises DataError for a
        column that is not a text, that is not stated, or that shows up too late.
        """
        if self._stated:
            return [self._as_stated(row) for row in rows]
        ready: list[Row] = []
        for row in rows:
            self._rows += 1
            new = row.keys() - self._known.keys()
            if self.settled:
                if new:
                    raise self._late(row)
                ready.append(row)
                continue
            if new:
                self._learn(row)
            self._held.append(row)
            self._chars += sum(len(cell) for cell in row.values() if isinstance(cell, str | bytes))
            if len(self._held) >= HELD_ROWS or self._chars >= HELD_CHARS:
                ready += self.rest()
        return ready

    def rest(self) -> list[Row]:
        """Settle the columns, and return the rows that were held."""
        self.settled = True
        held, self._held = self._held, []
        return held

    def _learn(self, row: Row) -> None:
        for name in row:
            check_name(name, row)
            self._known[name] = None

    def _late(self, row: Row) -> DataError:
        for name in row:
            check_name(name, row)
        new = next(name for name in row if name not in self._known)
        return DataError(
            f"Row {self._rows:,} of the part has the column {new!r}, which the rows before lack, "
            'and the columns are settled by then. State all of them as columns = {"name": "type", '
            "…}."
        )

    def _as_stated(self, row: Row) -> Row:
        if not row.keys() <= self._known.keys():
            for name in row:
                check_name(name, row)
            extra = next(name for name in row if name not in self._known)
            raise DataError(
                f"The row {shortened(row)} has the column {extra!r}, which `columns` does not "
                "state. Add it there, or leave it out."
            )
        return {name: self._cell(name, row.get(name), kind) for name, kind in self._types.items()}

    def _cell(self, name: str, cell: Any, kind: type) -> Any:
        """Return a value of a stated column; raise DataError for one of another type."""
        found = type(cell)
        if found is kind or found is _NONE:
            return cell
        if kind is float and found is int and abs(cell) <= _WHOLE_IN_FLOAT:
            return float(cell)
        if isinstance(cell, kind) and found is not bool and not _is_longer_date(cell, kind):
            return cell
        raise DataError(
            f"The value {shortened(cell)} of the column {name!r} is of type {found.__qualname__}, "
            f"and `columns` states {self._stated[name]}. Convert it, or state another type."
        )


def _is_longer_date(cell: object, kind: type) -> bool:
    """Return whether a datetime is given for a date: its time would be lost."""
    return kind is datetime.date and isinstance(cell, datetime.datetime)


def check_name(name: object, row: object) -> None:
    """Raise DataError for a name of a column that is not a text."""
    if not isinstance(name, str):
        raise DataError(
            f"The row {shortened(row)} has the column name {shortened(name)}, which is not a "
            "text. Yield a dict with texts as keys, or a (key, value) pair."
        )


def cells(rows: Sequence[Row], names: Sequence[str], output_format: str) -> list[list[Any]]:
    """Return the cells of rows, None where a row lacks one; raise DataError for nested values."""
    lines = [list(map(row.get, names)) for row in rows]
    for line in lines:
        if not CELLS.issuperset(map(type, line)):
            for name, cell in zip(names, line, strict=True):
                _check_cell(name, cell, output_format)
    return lines


def _check_cell(name: str, cell: object, output_format: str) -> None:
    if isinstance(cell, list | tuple | dict | set | frozenset):
        raise DataError(
            f"The column {name!r} has the value {shortened(cell)}, and {output_format} cannot "
            "hold nested values. Use --output-format jsonl or parquet, or yield a text."
        )
    if isinstance(cell, bytes | bytearray | memoryview):
        raise DataError(
            f"The column {name!r} has the value {shortened(cell)}, and {output_format} holds text "
            "and not bytes. Decode it, or use --output-format parquet."
        )
