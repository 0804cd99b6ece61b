"""The digest of a run: of its rows, in their order, however they were cut into blocks.

Blocks are cut where chunks of a merge end, and so by the memory of a slot. A map that runs again on
a machine of another size must not look as if it had emitted something else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from mrcore.shuffle.arrow import Array, pa
from mrcore.shuffle.columns import Columns
from mrcore.shuffle.values import ValueKind, pickled
from mrcore.util.crc32c import extend_crc32c


class RowDigest:
    """Sums up rows by a CRC32C of each buffer of their columns, which is as fast as memory.

    Made to notice a map that is not deterministic, not to resist a forger.
    """

    def __init__(self) -> None:
        self._whole = hashlib.blake2b(digest_size=16)
        self._kinds = (0, 0)
        self._rows = 0
        self._crcs: dict[str, int] = {}

    def add(self, block: Columns) -> None:
        """Append rows to the section."""
        kinds = int(block.key_kind), int(block.value_kind)
        if kinds != self._kinds:
            self._sum_up()
            self._kinds = kinds
        self._rows += len(block)
        values = pickled(block.values) if block.value_kind is ValueKind.ARROW else block.values
        columns = {"keys": block.keys, "values": values, "order": block.order}
        for name, column in columns.items():
            for place, data in enumerate(() if column is None else _buffers(column)):
                stream = f"{name} {place}"
                self._crcs[stream] = extend_crc32c(self._crcs.get(stream, 0), data)

    def end_section(self) -> None:
        """End the section."""
        self._sum_up()
        self._whole.update(b"section")

    def finish(self) -> bytes:
        """Return the digest of all sections."""
        return self._whole.digest()

    def _sum_up(self) -> None:
        if self._rows:
            self._whole.update(repr((self._kinds, self._rows, self._crcs)).encode())
            self._rows, self._crcs = 0, {}


def _buffers(column: Array) -> Iterator[memoryview]:
    """Yield the content of a column without nulls: lengths and bytes, or numbers."""
    type_ = column.type
    if pa.types.is_null(type_):
        return
    if not (pa.types.is_string(type_) or pa.types.is_binary(type_)):
        yield _bytes(column.to_numpy(zero_copy_only=False))
        return
    _, offsets, data = column.buffers()
    if offsets is None or not len(column):
        return
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    yield _bytes(np.diff(ends))
    if data is not None:
        yield memoryview(data)[int(ends[0]) : int(ends[-1])]


def _bytes(numbers: np.ndarray) -> memoryview:
    return np.ascontiguousarray(numbers).view(np.uint8).data
