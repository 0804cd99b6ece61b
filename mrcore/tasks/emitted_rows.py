"""Rows that the user's functions emit: dicts without a key, in the last stage of a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

from mrcore.plugin.running import running
from mrcore.records.outputs import python_number
from mrcore.records.row_table import Row
from mrcore.records.writers import RowWriter
from mrcore.shuffle.arrow import Array, RecordBatch, pa
from mrcore.shuffle.keys import shown
from mrcore.shuffle.user_code import READ_ROWS, USER_EXCEPTIONS, UserCodeError
from mrcore.util.arrow_values import python_values
from mrcore.util.object_copies import SCALARS, UnpicklableValueError, kept, thawed, thawed_list

_READ_CELLS: Final = 64 * READ_ROWS
"""Cells of rows that are alive at once while reading."""


class PairsAsRows:
    """A `PartWriter` of rows alone: a pair is a row with the columns `key` and `value`."""

    def __init__(self, part: RowWriter) -> None:
        self._part = part
        self.write_rows = part.write_rows
        self.close = part.close

    def keep(self, thing: Any, /) -> Any:
        """Return a key or value as it is now: a column has its type, and not its text."""
        return kept(thing)

    def write(self, keys: Sequence[object], values: Sequence[object]) -> None:
        """Append pairs."""
        pairs = zip(thawed_list(keys), thawed_list(values), strict=True)
        self.write_rows([{"key": key, "value": value} for key, value in pairs])

    def write_columns(self, keys: Array, values: Array) -> None:
        """Append pairs."""
        self.write(python_values(keys), python_values(values))


def first_of(function: str, items: Iterator[Any]) -> tuple[Any, Iterator[Any]]:
    """Return the first item that a function emits, None at the end, and all of them again."""
    try:
        with running(function):
            first = next(items, None)
    except UserCodeError:
        raise
    except USER_EXCEPTIONS as error:
        raise UserCodeError.raised(function, error) from error
    return first, items if first is None else chain((first,), items)


def read_rows(function: str, items: Iterator[Any]) -> list[Row]:
    """Return the next rows, none at the end; raise UserCodeError for what is not a row."""
    rows: list[Row] = []
    cells = 0
    try:
        with running(function):
            for item in islice(items, READ_ROWS):
                # The user's code may change a dict that it has yielded, and yield it again.
                row = _copy(function, item)
                rows.append(row)
                cells += len(row)
                if cells >= _READ_CELLS:
                    break
    except UserCodeError:
        raise
    except USER_EXCEPTIONS as error:
        raise UserCodeError.raised(function, error) from error
    return rows


def is_row(item: object) -> bool:
    """Return whether an item is a row rather than a pair."""
    return isinstance(item, Mapping)


def rows_of_tables(table: Any) -> Iterator[list[Row]] | None:
    """Return the rows of a RecordBatch or Table; None for one of pairs, and for other objects."""
    if not isinstance(table, pa.RecordBatch | pa.Table):
        return None
    if {"key", "value"}.intersection(table.schema.names):
        return None
    batches = [table] if isinstance(table, pa.RecordBatch) else table.to_batches(READ_ROWS)
    return map(_rows, batches)


def _rows(batch: RecordBatch) -> list[Row]:
    names = batch.schema.names
    columns = [python_values(batch.column(place)) for place in range(len(names))]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _copy(function: str, item: Any) -> Row:
    """Return a row as it is now, with Python's numbers in place of those of numpy."""
    if not is_row(item):
        raise UserCodeError(
            function,
            f"{function} yielded {shown(item)} after rows: yield only dicts, or only (key, value) "
            "pairs",
        )
    if not item:
        raise UserCodeError(
            function, f"{function} yielded an empty dict: a row needs at least one column"
        )
    if SCALARS.issuperset(map(type, item.values())):
        return dict(item)
    return {name: _cell(function, name, cell) for name, cell in item.items()}


def _cell(function: str, name: object, cell: Any) -> Any:
    cell = python_number(cell)
    try:
        return thawed(kept(cell))
    except UnpicklableValueError as error:
        raise UserCodeError(
            function,
            f"{function} yielded a row whose column {shown(name)} has a value that cannot be "
            f"pickled ({error}): emit plain data instead",
        ) from None
