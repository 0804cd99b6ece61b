"""Folders of partitioned output, `column=value`: the names of Hive, which Spark and Arrow read."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from mrcore.errors import DataError

NULL: Final = "__HIVE_DEFAULT_PARTITION__"
"""The value in the folder of rows whose column is None, or an empty text."""
_ESCAPED: Final = frozenset("\"#%'*/:=?\\\x7f{[]^") | frozenset(map(chr, range(32)))
_MAX_BYTES: Final = 255
"""Longest name of a folder that file systems take."""
_KINDS: Final = (str, bool, int, float, Decimal, datetime.date, datetime.time)


def folder_of(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    """Return the folder of a row, as in `country=SE/year=2026`; raise DataError."""
    return "/".join(_step(column, row.get(column)) for column in columns)


def _step(column: str, value: object) -> str:
    if value is None or value == "":
        text = NULL
    elif isinstance(value, _KINDS):
        # Spark writes true and false, and reads them as such.
        text = _escaped(str(value).lower() if isinstance(value, bool) else str(value))
    else:
        raise DataError(
            f"The partition column {column!r} has a value of type {type(value).__qualname__}, "
            "which cannot be the name of a folder. Use a text, a number, a bool or a date."
        )
    step = f"{_escaped(column)}={text}"
    try:
        size = len(step.encode())
    except UnicodeEncodeError:
        raise DataError(
            f"The partition column {column!r} has the value {value!a:.80}, which is not valid "
            "Unicode. Replace it."
        ) from None
    if size > _MAX_BYTES:
        raise DataError(
            f"The partition column {column!r} has a value that makes a folder's name of {size:,} "
            f"bytes, and {_MAX_BYTES} is the limit. Partition by a shorter value."
        )
    return step


def _escaped(text: str) -> str:
    return "".join(f"%{ord(c):02X}" if c in _ESCAPED else c for c in text)
