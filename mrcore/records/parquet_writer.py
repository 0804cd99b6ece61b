"""Output parts in parquet: columns `key` and `value`.

Types are inferred from the first row group, 65,536 pairs or less; a later pair that does not fit
them is an error. Row groups end after a number of pairs, or of characters, that depends on the
pairs alone, so that equal pairs are equal bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from mrcore.errors import DataError
from mrcore.job import Compression
from mrcore.keeping import UnpicklableValueError, kept, thawed_list
from mrcore.pylist import python_values
from mrcore.records.outputs import Output, PartCounts, shortened
from mrcore.storage.base import Writer

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

GROUP_ROWS = 65536
GROUP_CHARS = 8 << 20
"""Characters of str and bytes in a row group: bounds memory when values are large."""
_STEP_ROWS = 1024
_LEVELS = 4
"""So deep characters are counted in what values hold."""

_CODECS: Final[dict[Compression, Literal["snappy", "gzip", "zstd"]]] = {
    Compression.NONE: "snappy",
    Compression.GZIP: "gzip",
    Compression.ZSTD: "zstd",
}


class ParquetPartWriter:
    """A `mrcore.records.writers.PartWriter` for parquet."""

    def __init__(self, sink: Writer, compression: Compression) -> None:
        self._output = Output(sink, Compression.NONE)
        self._codec = _CODECS[compression]
        self._keys: list[object] = []
        self._values: list[object] = []
        self._chars = 0
        self._records = 0
        self._schema: pa.Schema | None = None
        self._writer: pq.ParquetWriter | None = None

    def keep(self, thing: Any, /) -> Any:
        """Return a key or value that may change as it is now."""
        try:
            return kept(thing)
        except UnpicklableValueError:
            return thing

    def write(self, keys: Sequence[object], values: Sequence[object]) -> None:
        """Append n pairs."""
        keys, values = thawed_list(keys), thawed_list(values)
        for start in range(0, len(keys), _STEP_ROWS):
            some = keys[start : start + _STEP_ROWS], values[start : start + _STEP_ROWS]
            chars = _chars(some[0], _LEVELS) + _chars(some[1], _LEVELS)
            room = len(self._keys) + len(some[0]) < GROUP_ROWS
            if room and self._chars + chars < GROUP_CHARS:
                self._keys += some[0]
                self._values += some[1]
                self._chars += chars
            else:
                self._write_one_by_one(*some)

    def _write_one_by_one(self, keys: Sequence[object], values: Sequence[object]) -> None:
        """Append pairs; end the row group behind the one that fills it."""
        for pair in zip(keys, values, strict=True):
            self._keys.append(pair[0])
            self._values.append(pair[1])
            self._chars += _chars(pair, _LEVELS)
            if len(self._keys) >= GROUP_ROWS or self._chars >= GROUP_CHARS:
                self._flush()

    def write_columns(self, keys: pa.Array[Any], values: pa.Array[Any]) -> None:
        """Append n pairs."""
        for start in range(0, len(keys), GROUP_ROWS):
            self.write(
                python_values(keys.slice(start, GROUP_ROWS)),
                python_values(values.slice(start, GROUP_ROWS)),
            )

    def close(self) -> PartCounts:
        """Write the last row group and the footer."""
        if self._keys or self._writer is None:
            self._flush()
        assert self._writer is not None
        self._writer.close()
        self._output.finish()
        return PartCounts(self._records, self._output.size_bytes, self._output.crc32c)

    def _flush(self) -> None:
        """Write what is held as a row group."""
        kinds: list[Any] = [None, None] if self._schema is None else self._schema.types
        arrays = [
            self._column(name, column, kind)
            for name, column, kind in zip(
                ("key", "value"), (self._keys, self._values), kinds, strict=True
            )
        ]
        batch = pa.RecordBatch.from_arrays(arrays, ["key", "value"])
        if self._writer is None:
            self._schema = batch.schema
            self._writer = pq.ParquetWriter(
                pa.PythonFile(_Forward(self._output), mode="w"),
                batch.schema,
                compression=self._codec,
            )
        if self._keys:
            self._writer.write_batch(batch, row_group_size=len(self._keys))
        self._records += len(self._keys)
        self._keys.clear()
        self._values.clear()
        self._chars = 0

    def _column(self, name: str, things: Sequence[object], kind: Any) -> Any:
        """Return things as an array: of their own type at first, later of the column's."""
        try:
            return pa.array(things, type=kind)
        except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
            raise self._misfit(name, things, kind, error) from error

    def _misfit(
        self, name: str, things: Sequence[object], kind: Any, error: Exception
    ) -> DataError:
        if kind is None:
            return DataError(
                f"The {name}s cannot be a column of parquet ({error}): emit one type that parquet "
                "knows, or choose another --output-format."
            )
        for at, thing in enumerate(things):
            try:
                pa.array([thing], type=kind)
            except (pa.ArrowException, OverflowError, ValueError, TypeError):
                return DataError(
                    f"The {name} {shortened(thing)} of pair {self._records + at + 1} does not fit "
                    f"the column's type, {kind}, which the first pairs of the part set: emit one "
                    "type."
                )
        raise AssertionError("some pair does not fit")


def _chars(things: Iterable[object], levels: int) -> int:
    """Return how many characters of str and bytes things hold."""
    chars = 0
    for thing in things:
        if isinstance(thing, str | bytes):
            chars += len(thing)
        elif levels and isinstance(thing, list | tuple):
            chars += _chars(thing, levels - 1)
        elif levels and isinstance(thing, dict):
            chars += _chars(chain.from_iterable(thing.items()), levels - 1)
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
