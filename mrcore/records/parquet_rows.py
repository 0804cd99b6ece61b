"""Output parts in parquet with rows, which are dicts by column.

The columns and their types are stated by the job, or those that the rows show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from mrcore.errors import DataError
from mrcore.model.columns import COLUMN_TYPES, Columns
from mrcore.model.job import Compression
from mrcore.records.outputs import (
    Output,
    PartCounts,
    grown_digest,
    nested_numbers,
    rows_digest,
    shortened,
)
from mrcore.records.parquet_file import (
    GROUP_CHARS,
    GROUP_ROWS,
    HELD_GROUPS,
    PartFile,
    chars_of,
    schema_digest,
)
from mrcore.records.parquet_types import Column, MisfitError
from mrcore.records.row_table import Row, RowTable, check_name


class ParquetRows:
    """Writes rows to a part."""

    def __init__(self, output: Output, compression: Compression, columns: Columns = ()) -> None:
        self._output = output
        self._file = PartFile(output, compression)
        self._table = RowTable(columns) if columns else None
        self._type = Column()
        self._rows: list[Row] = []
        self._chars = 0
        self._held: list[list[Row]] = []
        self._records = 0
        if columns:
            self._type.state({name: COLUMN_TYPES[kind] for name, kind in columns})

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows; end a row group behind the row that fills it."""
        if self._table is not None:
            rows = self._table.add(rows)
        for given in rows:
            row = nested_numbers(given)
            self._rows.append(row)
            self._chars += chars_of(row.values())
            if len(self._rows) >= GROUP_ROWS or self._chars >= GROUP_CHARS:
                self._end_group()

    def close(self) -> PartCounts:
        """Write the last row group and the footer."""
        if self._rows:
            self._end_group()
        self._write_held()
        schema = self._schema()
        has_grown = self._file.close(schema)
        digest = rows_digest([schema_digest(schema).hex()])
        return PartCounts(
            self._records,
            self._output.size_bytes,
            self._output.crc32c,
            grown_digest(digest) if has_grown else digest,
        )

    def _end_group(self) -> None:
        """End a row group; hold it while it does not show what the types are."""
        try:
            self._type.add(self._rows)
        except MisfitError:
            self._refuse()
        self._held.append(self._rows)
        self._records += len(self._rows)
        self._rows, self._chars = [], 0
        if self._type.complete or len(self._held) >= HELD_GROUPS:
            self._write_held()

    def _refuse(self) -> None:
        """Raise DataError with the row that does not fit."""
        for at, row in enumerate(self._rows):
            for name, cell in row.items():
                check_name(name, row)
                try:
                    self._type.add([{name: cell}])
                except MisfitError as error:
                    raise DataError(
                        f"The value {shortened(cell)} in row {self._records + at + 1:,} of the "
                        f"part does not fit the column {name!r}: {error}. Yield one type, or state "
                        'columns = {"name": "type", …}.'
                    ) from None
        raise AssertionError("some row does not fit")

    def _write_held(self) -> None:
        schema = self._schema()
        for rows in self._held:
            cells: list[Any] = [
                pa.array([row.get(field.name) for row in rows], field.type) for field in schema
            ]
            self._file.write(schema, cells)
        self._held.clear()

    def _schema(self) -> pa.Schema:
        """Return the columns that were seen."""
        row: Any = self._type.arrow_type
        return pa.schema([] if pa.types.is_null(row) else list(row))
