"""Rows of a run, as columns and back."""

from __future__ import annotations

from typing import Any

from mrcore.shuffle.columns import Columns
from mrcore.shuffle.encoding import encode_many
from mrcore.shuffle.keys import key_column, keys_to_python
from mrcore.shuffle.values import to_python, value_column

Row = tuple[Any, int]


def columns_of(rows: list[Row], *, order: bool = False) -> Columns:
    """Return columns; values are numbers, and sort by their last digit with `order`."""
    keys, values = [key for key, _ in rows], [value for _, value in rows]
    sorting = encode_many([value % 3 for value in values]) if order else None
    return Columns(*key_column(keys), *value_column(values), sorting)


def rows_of(columns: Columns) -> list[Row]:
    """Return the rows of columns."""
    keys = keys_to_python(columns.key_kind, columns.keys)
    return list(zip(keys, to_python(columns.value_kind, columns.values), strict=True))
