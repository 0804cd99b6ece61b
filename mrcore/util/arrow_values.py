"""From an Arrow column to Python's values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mrcore.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


def python_values(
    column: pa.Array[Any],
    named: str = "A column",
    advice: str = "cast the column to another type in map",
) -> list[Any]:
    """Return the values of a column as Python objects.

    Raises DataError, with the column as `named` and the `advice`, for what Python's types cannot
    hold: times in nanoseconds, years beyond 9999, unknown time zones, invalid UTF-8.
    """
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError, LookupError, NotImplementedError, TypeError) as error:
        # Arrow's own errors are children of these.
        reason = str(error).partition(". ")[0].rstrip(".")
        raise DataError(
            f"{named} of the type {column.type} holds a value that Python cannot ({reason}): "
            f"{advice}."
        ) from error
    return values
