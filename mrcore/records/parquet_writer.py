"""Output parts in parquet: columns `key` and `value`.

Types are inferred from the first row group, 65,536 pairs or less; a later pair that does not fit
them is an error. Row groups end after a number of pairs, or of characters, that depends on the
pairs alone, so that equal pairs are equal bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from mrcore.errors import DataError
from mrcore.job import Compression
from mrcore.records.outputs import Output, PartCounts, shortened
from mrcore.storage.base import Writer

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

GROUP_ROWS = 65536
GROUP_CHARS = 64 << 20
"""Characters of str and bytes in a row group: bounds memory when values are large."""
_STEP_ROWS = 1024

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
        self._weighed = 0
        self._chars = 0
        self._records = 0
        self._schema: pa.Schema | None = None
        self._writer: pq.ParquetWriter | None = None

    def write(self, keys: Sequence[object], values: Sequence[object]) -> None:
        """Append n pairs."""
        for start in range(0, len(keys), _STEP_ROWS):
            self._keys += keys[start : start + _STEP_ROWS]
            self._values += values[start : start + _STEP_ROWS]
            while len(self._keys) - self._weighed >= _STEP_ROWS:
                self._weigh()

    def write_columns(self, keys: pa.Array[Any], values: pa.Array[Any]) -> None:
        """Append n pairs."""
        for start in range(0, len(keys), GROUP_ROWS):
            self.write(
                keys.slice(start, GROUP_ROWS).to_pylist(),
                values.slice(start, GROUP_ROWS).to_pylist(),
            )

    def close(self) -> PartCounts:
        """Write the last row group and the footer."""
        if self._keys or self._writer is None:
            self._flush(len(self._keys))
        assert self._writer is not None
        self._writer.close()
        self._output.finish()
        return PartCounts(self._records, self._output.size_bytes, self._output.crc32c)

    def _weigh(self) -> None:
        """Count in the next 1,024 pairs; end the row group behind them if it is full."""
        start, end = self._weighed, self._weighed + _STEP_ROWS
        self._weighed = end
        for column in (self._keys, self._values):
            self._chars += sum(
                len(thing) for thing in column[start:end] if isinstance(thing, str | bytes)
            )
        if end >= GROUP_ROWS or self._chars >= GROUP_CHARS:
            self._flush(end)

    def _flush(self, rows: int) -> None:
        """Write the first `rows` pairs as a row group."""
        kinds: list[Any] = [None, None] if self._schema is None else self._schema.types
        arrays = [
            self._column(name, column[:rows], kind)
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
        if rows:
            self._writer.write_batch(batch, row_group_size=rows)
        del self._keys[:rows], self._values[:rows]
        self._records += rows
        self._weighed = self._chars = 0

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
