"""From an Arrow column to Python's values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mrcore.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


def python_values(column: pa.Array[Any]) -> list[Any]:
    """Return the values of a column as Python objects.

    Raises DataError for what Python's types cannot hold, such as times in nanoseconds.
    """
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError) as error:  # Arrow's own errors are ValueErrors too
        reason = str(error).partition(". ")[0]
        raise DataError(
            f"A column of the type {column.type} holds a value that Python cannot ({reason}): "
            "cast the column to another type in map."
        ) from error
