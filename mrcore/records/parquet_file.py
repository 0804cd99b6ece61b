"""Files of parquet as output parts write them, and the bounds of their row groups.

A file has one schema, which its first row group decides. Where a later one needs a type that has
grown, a second file follows in the same object, and so on. A list of the files' lengths then ends
the object. The commit makes one file of such a part (`mrcore.records.parquet_parts`).
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from mrcore.errors import DataError
from mrcore.model.job import Compression
from mrcore.records.outputs import Output
from mrcore.storage.base import ObjectInfo
from mrcore.storage.registry import storage_for

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

GROUP_ROWS = 65536
GROUP_CHARS = 8 << 20
"""Characters of str and bytes in a row group: bounds memory when values are large."""
HELD_GROUPS = 4
"""Row groups at most that are held while nothing but None shows the type of some field."""
_LEVELS = 4
"""Levels of lists and dicts down to which characters are counted."""

_CODECS: Final[dict[Compression, Literal["snappy", "gzip", "zstd"]]] = {
    Compression.NONE: "snappy",
    Compression.GZIP: "gzip",
    Compression.ZSTD: "zstd",
}


_LENGTHS_END: Final = b"MRPARTS1"
_END: Final = struct.Struct("<Q8s")
"""Number of files in the object, and what tells its end from that of a file of parquet."""


class PartFile:
    """The file of a part, or the files, where its schema grows."""

    def __init__(self, output: Output, compression: Compression) -> None:
        self._output = output
        self._compression = compression
        self._schema = pa.schema([])
        self._file: _Forward | None = None
        self._writer: pq.ParquetWriter | None = None
        self._lengths: list[int] = []

    def write(self, schema: pa.Schema, columns: Sequence[pa.Array[Any]]) -> None:
        """Write a row group, to a file of this schema."""
        writer = self._writer_of(schema)
        batch = pa.RecordBatch.from_arrays(list(columns), schema=schema)
        writer.write_batch(batch, row_group_size=batch.num_rows)

    def close(self, schema: pa.Schema) -> bool:
        """End the part; return whether its schema has grown. A part without rows gets a schema."""
        if self._writer is None:
            self._writer_of(schema)
        self._end()
        if len(self._lengths) > 1:
            lengths = struct.pack(f"<{len(self._lengths)}Q", *self._lengths)
            self._output.write(lengths + _END.pack(len(self._lengths), _LENGTHS_END))
        self._output.finish()
        return len(self._lengths) > 1

    def _writer_of(self, schema: pa.Schema) -> pq.ParquetWriter:
        if self._writer is None or schema != self._schema:
            self._end()
            self._schema = schema
            self._file = _Forward(self._output)
            self._writer = open_writer(self._file, schema, self._compression)
        return self._writer

    def _end(self) -> None:
        if self._writer is not None and self._file is not None:
            self._writer.close()
            self._lengths.append(self._file.size_bytes)


def files_of(part: ObjectInfo) -> list[tuple[int, int]]:
    """Return where each file of a part begins and ends; raise StorageErrors."""
    storage, size = storage_for(part.uri), part.size_bytes

    def read(start: int, end: int) -> bytes:
        return storage.read(part.uri, start, end, generation=part.generation)

    count, end = _END.unpack(read(size - _END.size, size).rjust(_END.size))
    if end != _LENGTHS_END:
        return [(0, size)]
    start = size - _END.size - 8 * count
    lengths = struct.unpack(f"<{count}Q", read(start, size - _END.size))
    return list(pairwise(accumulate(lengths, initial=0)))


def schema_digest(schema: pa.Schema) -> bytes:
    """Return a digest that is equal for equal schemas."""
    return hashlib.blake2b(schema.serialize().to_pybytes(), digest_size=16).digest()


def open_writer(file: _Forward, schema: pa.Schema, compression: Compression) -> pq.ParquetWriter:
    """Return a writer of a parquet file; raise DataError."""
    try:
        return pq.ParquetWriter(
            pa.PythonFile(file, mode="w"), schema, compression=_CODECS[compression]
        )
    except (pa.ArrowException, NotImplementedError) as error:
        raise DataError(
            f"The output cannot be columns of parquet ({error}): emit other types, or choose "
            "another --output-format."
        ) from error


def chars_of(things: Iterable[object], levels: int = _LEVELS) -> int:
    """Return how many characters of str and bytes things hold."""
    chars = 0
    for thing in things:
        if isinstance(thing, str | bytes):
            chars += len(thing)
        elif levels and isinstance(thing, list | tuple):
            chars += chars_of(thing, levels - 1)
        elif levels and isinstance(thing, dict):
            chars += chars_of(chain.from_iterable(thing.items()), levels - 1)
    return chars


class _Forward(io.RawIOBase):
    """Lets pyarrow write to an output."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output
        self.size_bytes = 0
        """Bytes written so far."""

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        block = bytes(data)
        self._output.write(block)
        self.size_bytes += len(block)
        return len(block)
