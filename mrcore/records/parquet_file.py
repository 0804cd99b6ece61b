"""Files of parquet as output parts write them, and the bounds of their row groups."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from mrcore.errors import DataError
from mrcore.model.job import Compression
from mrcore.records.outputs import Output

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


def schema_digest(schema: pa.Schema) -> bytes:
    """Return a digest that is equal for equal schemas."""
    return hashlib.blake2b(schema.serialize().to_pybytes(), digest_size=16).digest()


def open_writer(output: Output, schema: pa.Schema, compression: Compression) -> pq.ParquetWriter:
    """Return a writer of a parquet file that goes to `output`; raise DataError."""
    try:
        return pq.ParquetWriter(
            pa.PythonFile(_Forward(output), mode="w"), schema, compression=_CODECS[compression]
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

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        block = bytes(data)
        self._output.write(block)
        return len(block)
