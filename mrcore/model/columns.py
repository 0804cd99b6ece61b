"""Columns that a job states: names of types, as users write them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

COLUMN_TYPES: Final[Mapping[str, type]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "bytes": bytes,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "decimal": Decimal,
}
"""Types of columns by name, in the order in which sentences list them."""
MAX_COLUMNS: Final = 10_000
MAX_COLUMN_NAME: Final = 1_000

Columns = tuple[tuple[str, str], ...]
"""Names of columns with the names of their types, in order."""


def type_name(given: object) -> str | None:
    """Return the name of a type that is given by its name or as a class; None for any other."""
    if isinstance(given, str):
        return given if given in COLUMN_TYPES else None
    return next((name for name, kind in COLUMN_TYPES.items() if kind is given), None)


def columns_of(given: object) -> Columns:
    """Return the columns of a dict {"name": "type"}; raise ValueError with what is wrong."""
    if not isinstance(given, Mapping) or not given:
        raise ValueError('are not a dict {"name": "type"} with at least one column')
    if len(given) > MAX_COLUMNS:
        raise ValueError(f"are {len(given):,}, and {MAX_COLUMNS:,} is the limit")
    columns = []
    for name, kind in given.items():
        if not isinstance(name, str) or not 0 < len(name) <= MAX_COLUMN_NAME:
            raise ValueError(f"have the name {name!r:.80}, which is not a text of 1 to 1,000")
        found = type_name(kind)
        if found is None:
            raise ValueError(
                f"have the type {kind!r:.80} for {name!r:.80}, which is not one of "
                f"{', '.join(COLUMN_TYPES)}"
            )
        columns.append((name, found))
    return tuple(columns)
