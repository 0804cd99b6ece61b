"""Taking rows of a column in another order, fastest where all have one length.

Measured with rows of 99 bytes: 45 ns a row of one length, and 110 of any, since Arrow then looks
up two offsets and grows its buffer for each row. With rows of 10 bytes it is 6 ns and 31.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from mrcore.shuffle.arrow import Array, pa

_MAX_BYTES: Final = (1 << 31) - 1
"""Largest content of a string column: offsets have 31 bits."""


class Picker:
    """A column of which rows are taken many times."""

    __slots__ = ("_column", "_fixed")

    def __init__(self, column: Array) -> None:
        self._column = column
        self._fixed = _as_fixed(column)

    def take(self, rows: Array) -> Array:
        """Return the rows of these numbers, in their order, as a column of the same type."""
        if self._fixed is None:
            return self._column.take(rows)
        width = self._fixed.type.byte_width
        if width * len(rows) > _MAX_BYTES:
            return self._column.take(rows)  # it reports what does not fit
        taken = self._fixed.take(rows)
        ends = np.arange(0, (len(rows) + 1) * width, width, dtype=np.int32)
        buffers = [None, pa.py_buffer(ends), taken.buffers()[1]]
        return pa.Array.from_buffers(self._column.type, len(rows), buffers)


def _as_fixed(column: Array) -> Array | None:
    """Return the same bytes as a column of one width; None where rows differ, or are empty."""
    type_ = column.type
    if not (pa.types.is_string(type_) or pa.types.is_binary(type_)):
        return None
    rows = len(column)
    if not rows or column.null_count:
        return None
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + rows + 1]
    first, last = int(ends[0]), int(ends[-1])
    width = int(ends[1]) - first
    if not width or last - first != width * rows or not (np.diff(ends) == width).all():
        return None
    buffers = [None, data.slice(first, last - first)]
    return pa.Array.from_buffers(pa.binary(width), rows, buffers)
