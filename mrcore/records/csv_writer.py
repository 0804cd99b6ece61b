"""Output parts in csv and tsv: rows under a header, quoted where needed, lines ended by LF."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import Any

from mrcore.model.columns import Columns
from mrcore.model.job import Compression
from mrcore.records.outputs import nested_numbers
from mrcore.records.row_table import Row, cells
from mrcore.records.writers import NUMPY, _RowWriter, not_text, not_text_row
from mrcore.storage.base import Writer


class CsvWriter(_RowWriter):
    """Pairs under the header `key,value`, or rows under the names of their columns."""

    _format = "csv"
    _delimiter = ","

    def __init__(self, sink: Writer, compression: Compression, columns: Columns = ()) -> None:
        super().__init__(sink, compression, columns)
        self._lines = CsvLines(self._delimiter)

    def _head(self, names: Sequence[str]) -> bytes:
        return self._lines.text([names]).encode("utf-8", "surrogateescape")

    def _encoded(self, keys: Sequence[object], values: Sequence[object]) -> bytes:
        text = self._lines.text(zip(keys, values, strict=True))
        if NUMPY in text:
            pairs = (map(nested_numbers, things) for things in (keys, values))
            text = self._lines.text(zip(*pairs, strict=True))
        try:
            return text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise not_text(keys, values) from error

    def _encoded_rows(self, rows: Sequence[Row], names: Sequence[str]) -> bytes:
        try:
            text = self._lines.text(cells(rows, names, self._format))
            return text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise not_text_row(rows) from error


class TsvWriter(CsvWriter):
    """As csv, with tabs in place of commas."""

    _format = "tsv"
    _delimiter = "\t"


class CsvLines:
    """Makes lines of rows."""

    def __init__(self, delimiter: str) -> None:
        self._lines: list[str] = []
        # A terminator of both has the fields quoted that hold either; `write` takes the CR off.
        self._writer = csv.writer(self, delimiter=delimiter, lineterminator="\r\n")

    def write(self, row: str) -> None:
        """Take a row from `csv.writer`."""
        self._lines.append(f"{row[:-2]}\n")

    def text(self, rows: Iterable[Sequence[Any]]) -> str:
        """Return the lines of rows as one text."""
        self._lines.clear()
        self._writer.writerows(rows)
        return "".join(self._lines)
