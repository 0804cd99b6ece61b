"""Output parts in parquet: columns `key` and `value`, or rows (`mrcore.records.parquet_rows`).

A pair of another type than those before it is an error (`mrcore.records.parquet_types`). Row groups
end after a number of pairs, or of characters, that depends on the pairs alone, so that equal pairs
are equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from mrcore.errors import DataError
from mrcore.model.columns import Columns
from mrcore.model.job import Compression
from mrcore.records.outputs import Output, PartCounts, grown_digest, python_numbers, shortened
from mrcore.records.parquet_file import (
    GROUP_CHARS,
    GROUP_ROWS,
    HELD_GROUPS,
    PartFile,
    chars_of,
    schema_digest,
)
from mrcore.records.parquet_rows import ParquetRows
from mrcore.records.parquet_types import Column, MisfitError
from mrcore.records.row_table import Row
from mrcore.storage.base import Writer
from mrcore.util.arrow_values import python_values
from mrcore.util.object_copies import UnpicklableValueError, kept, thawed_list

_STEP_ROWS = 1024


class ParquetPartWriter:
    """A `mrcore.records.writers.PartWriter` for parquet."""

    def __init__(self, sink: Writer, compression: Compression, columns: Columns = ()) -> None:
        self._output = Output(sink, Compression.NONE)
        self._compression = compression
        self._file = PartFile(self._output, compression)
        self._keys: list[object] = []
        self._values: list[object] = []
        self._chars = 0
        self._records = 0
        self._columns = {"key": _Column("key"), "value": _Column("value")}
        self._held: list[tuple[list[object], list[object]]] = []
        self._rows: ParquetRows | None = None
        """Writer of the rows, in a part that has no pairs."""
        if columns:
            self._rows = ParquetRows(self._output, compression, columns)

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        if self._rows is None:
            self._rows = ParquetRows(self._output, self._compression)
        self._rows.write(rows)

    def keep(self, thing: Any, /) -> Any:
        """Return a key or value that may change as it is now."""
        try:
            return kept(thing)
        except UnpicklableValueError:
            return thing

    def write(self, keys: Sequence[object], values: Sequence[object]) -> None:
        """Append n pairs."""
        keys, values = map(python_numbers, (thawed_list(keys), thawed_list(values)))
        for start in range(0, len(keys), _STEP_ROWS):
            some = keys[start : start + _STEP_ROWS], values[start : start + _STEP_ROWS]
            chars = chars_of(some[0]) + chars_of(some[1])
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
            self._chars += chars_of(pair)
            if len(self._keys) >= GROUP_ROWS or self._chars >= GROUP_CHARS:
                self._end_group()

    def write_columns(self, keys: pa.Array[Any], values: pa.Array[Any]) -> None:
        """Append n pairs."""
        for start in range(0, len(keys), GROUP_ROWS):
            self.write(
                python_values(keys.slice(start, GROUP_ROWS)),
                python_values(values.slice(start, GROUP_ROWS)),
            )

    def close(self) -> PartCounts:
        """Write the last row group and the footer."""
        if self._rows is not None:
            return self._rows.close()
        if self._keys:
            self._end_group()
        self._write_held()
        schema = self._schema()
        digest = schema_digest(schema)
        if self._file.close(schema):
            digest = grown_digest(digest)
        return PartCounts(self._records, self._output.size_bytes, self._output.crc32c, digest)

    def _end_group(self) -> None:
        """End a row group; hold it while it does not show what the types are."""
        for name, things in (("key", self._keys), ("value", self._values)):
            self._columns[name].check(things, self._records)
        self._held.append((self._keys, self._values))
        self._records += len(self._keys)
        self._keys, self._values, self._chars = [], [], 0
        complete = all(column.complete for column in self._columns.values())
        if complete or len(self._held) >= HELD_GROUPS:
            self._write_held()

    def _write_held(self) -> None:
        schema = self._schema()
        for keys, values in self._held:
            arrays = [
                column.array(things)
                for column, things in zip(self._columns.values(), (keys, values), strict=True)
            ]
            self._file.write(schema, arrays)
        self._held.clear()

    def _schema(self) -> pa.Schema:
        """Return the columns with the types that were seen."""
        return pa.schema([(name, column.arrow_type) for name, column in self._columns.items()])


class _Column:
    """One column: its type, and the errors of what does not go there."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._type = Column()

    @property
    def complete(self) -> bool:
        return self._type.complete

    @property
    def arrow_type(self) -> pa.DataType:
        """Return the type so far."""
        return self._type.arrow_type

    def check(self, things: Sequence[object], before: int) -> None:
        """Let the column hold things; raise DataError with the pair that does not go there."""
        try:
            self._type.add(things)
        except MisfitError:
            for at, thing in enumerate(things):
                try:
                    self._type.add([thing])
                except MisfitError as error:
                    raise self._misfit(thing, before + at, error) from None
            raise AssertionError("some pair does not fit") from None

    def array(self, things: Sequence[object]) -> pa.Array[Any]:
        """Return checked things as an array."""
        try:
            return pa.array(things, self._type.arrow_type)
        except (pa.ArrowException, OverflowError, ValueError, TypeError) as error:
            raise DataError(
                f"The {self._name}s cannot be a column of parquet ({error}): emit one type that "
                "parquet knows, or choose another --output-format."
            ) from error

    def _misfit(self, thing: object, before: int, error: MisfitError) -> DataError:
        return DataError(
            f"The {self._name} {shortened(thing)} of pair {before + 1} of the part does not fit "
            f"the column: {error}. Emit one type, or choose another --output-format."
        )
