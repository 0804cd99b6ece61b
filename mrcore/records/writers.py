"""From pairs to the bytes of an output part.

========  =========================================================================================
format    a pair
========  =========================================================================================
text      `str(key)`, a tab, `str(value)`, a newline; a value of None leaves out itself and the tab;
          a newline within a pair of both is refused, a tab is not
jsonl     `{"key":…,"value":…}`; tuples become lists; bytes, NaN and infinities are refused
csv, tsv  `str(key),str(value)` under a header `key,value`; see `mrcore.records.csv_writer`
parquet   columns `key` and `value`, see `mrcore.records.parquet_writer`
========  =========================================================================================

A row, which is a dict without a key, has columns of its own (`mrcore.records.row_table`). In text
its cells are joined by tabs, in the order of the columns; in jsonl it is an object.

The bytes depend on the pairs alone, never on how they were batched. Text with lone surrogates that
stand for bytes that were not UTF-8 (`surrogateescape`) becomes those bytes again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, Protocol

from mrcore.errors import DataError, UsageError
from mrcore.model.columns import Columns
from mrcore.model.formats import OUTPUT_FORMATS
from mrcore.model.job import Compression
from mrcore.records.outputs import (
    Output,
    PartCounts,
    nested_numbers,
    rows_digest,
    shortened,
)
from mrcore.records.row_table import Row, RowTable, cells
from mrcore.storage.base import Writer
from mrcore.util.arrow_values import python_values
from mrcore.util.lazy import load

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 4096
"""Pairs that are formatted at a time."""
_JOIN_ROWS = 65536
NUMPY = "np."
"""In the text of a list that holds a scalar of numpy: `[np.int64(1)]`."""
_PAIR = ("key", "value")
"""Columns of pairs."""
_MAX_STRING_BYTES = 256 << 20
"""Beyond it, arrays whose offsets are 32 bits might not hold the joined text."""


class RowWriter(Protocol):
    """Writes rows to one output part. Not for use after `close`, or after an error."""

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Append rows, which have no keys; a part has rows or pairs, never both."""
        ...

    def close(self) -> PartCounts:
        """Pass everything on to the sink, which the caller commits."""
        ...


class PartWriter(RowWriter, Protocol):
    """Writes rows or pairs to one output part."""

    def keep(self, thing: Any, /) -> Any:
        """Return what `write` needs of a key or value that may change before it is written.

        What the format cannot hold comes back as it is, for `write` to refuse.
        """
        ...

    def write(self, keys: Sequence[object], values: Sequence[object]) -> None:
        """Append n pairs; raise DataError for one that the format cannot hold."""
        ...

    def write_columns(self, keys: pa.Array[Any], values: pa.Array[Any]) -> None:
        """Append n pairs; the same bytes as `write` of the arrays' Python values."""
        ...


def open_part(
    sink: Writer,
    output_format: str,
    compression: Compression = Compression.NONE,
    columns: Columns = (),
) -> PartWriter:
    """Start a part that goes to `sink`, with rows of these columns, where they are stated.

    Raises UsageError when the format is not compressed that way (see `check_output_format`).
    """
    check_output_format(output_format, compression)
    writer: Callable[[Writer, Compression, Columns], PartWriter] = load(
        OUTPUT_FORMATS[output_format].writer
    )
    return writer(sink, compression, columns)


def check_output_format(output_format: str, compression: Compression) -> None:
    """Raise UsageError when parts of this format cannot be compressed like this."""
    allowed = OUTPUT_FORMATS[output_format].compressions
    if compression not in allowed:
        others = ", ".join(item for item in allowed if item is not Compression.NONE)
        raise UsageError(
            f"A {output_format} output cannot be compressed by {compression}: choose "
            f"{others or compression.NONE} or none."
        )


class _RowWriter(ABC):
    """Base of the writers of lines, which encode the rows."""

    _format = "This format"
    """Name of the format in sentences."""

    def __init__(self, sink: Writer, compression: Compression, columns: Columns = ()) -> None:
        self._output = Output(sink, compression)
        self._records = 0
        self._table = RowTable(columns)
        self._has_rows = bool(columns)
        self._begun = False

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        self._has_rows = True
        ready = self._table.add(rows)
        if self._table.settled:
            self._write_ready(ready)

    def _write_ready(self, rows: Sequence[Row]) -> None:
        """Write rows, under the columns of the part."""
        self._begin(self._table.names)
        for start in range(0, len(rows), ROWS):
            some = rows[start : start + ROWS]
            self._output.write(self._encoded_rows(some, self._table.names))
            self._records += len(some)

    def _begin(self, names: Sequence[str]) -> None:
        """Write what stands before the first row or pair."""
        if not self._begun:
            self._begun = True
            self._output.write(self._head(names))

    def _head(self, names: Sequence[str]) -> bytes:
        """Return what stands before the first row or pair."""
        return b""

    def _encoded_rows(self, rows: Sequence[Row], names: Sequence[str]) -> bytes:
        """Return the lines of rows."""
        raise DataError(f"{self._format} has no rows. Yield (key, value) pairs.")

    def write(self, keys: Sequence[object], values: Sequence[object]) -> None:
        """Append n pairs."""
        self._begin(_PAIR)
        for start in range(0, len(keys), ROWS):
            some = keys[start : start + ROWS]
            self._output.write(self._encoded(some, values[start : start + ROWS]))
            self._records += len(some)

    def write_columns(self, keys: pa.Array[Any], values: pa.Array[Any]) -> None:
        """Append n pairs."""
        for start in range(0, len(keys), _JOIN_ROWS):
            self.write(
                python_values(keys.slice(start, _JOIN_ROWS)),
                python_values(values.slice(start, _JOIN_ROWS)),
            )

    def close(self) -> PartCounts:
        """Pass everything on."""
        if self._has_rows:
            self._write_ready(self._table.rest())
        self._begin(_PAIR)
        self._output.finish()
        digest = rows_digest(self._table.names) if self._has_rows else b""
        return PartCounts(self._records, self._output.size_bytes, self._output.crc32c, digest)

    def keep(self, thing: Any, /) -> Any:
        """Return the text of a key or value that may change."""
        return str(nested_numbers(thing))

    @abstractmethod
    def _encoded(self, keys: Sequence[object], values: Sequence[object]) -> bytes:
        """Return the rows of n pairs."""


class TextWriter(_RowWriter):
    """Lines `key<TAB>value`, or the cells of a row with tabs between them."""

    def _encoded_rows(self, rows: Sequence[Row], names: Sequence[str]) -> bytes:
        lines = [
            ["" if cell is None else str(cell) for cell in line]
            for line in cells(rows, names, "text")
        ]
        text = "".join("\t".join(line) + "\n" for line in lines)
        if (
            "\r" in text
            or text.count("\n") != len(rows)
            or (text.count("\t") != len(rows) * (len(names) - 1))
        ):
            _check_cells(lines, names)
        try:
            return text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise not_text_row(rows) from error

    def write_columns(self, keys: pa.Array[Any], values: pa.Array[Any]) -> None:
        """Append n pairs; arrays of strings (valid UTF-8) and integers never become objects."""
        alone = values.null_count == len(values)
        if not (_joins(keys) and (alone or _joins(values))):
            super().write_columns(keys, values)
            return
        for start in range(0, len(keys), _JOIN_ROWS):
            some, others = keys.slice(start, _JOIN_ROWS), values.slice(start, _JOIN_ROWS)
            self._records += len(some)
            if alone:
                self._output.write(_joined(some))
                self._output.write(b"\n")
                continue
            text = _characters(some)
            if b"\n" in text or b"\r" in text or b"\n" in _characters(others):
                _check_lines(python_values(some), python_values(others))
            self._output.write(_joined(some, others))

    def _encoded(self, keys: Sequence[object], values: Sequence[object]) -> bytes:
        text = _text_rows(keys, values)
        if NUMPY in text:
            text = _text_rows(*(list(map(nested_numbers, things)) for things in (keys, values)))
        if "\r" in text or text.count("\n") != len(keys):
            _check_lines(keys, values)
        try:
            return text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise not_text(keys, values) from error


def _check_cells(lines: Sequence[Sequence[str]], names: Sequence[str]) -> None:
    """Raise DataError for a cell with a tab or a line end."""
    for line in lines:
        for name, cell in zip(names, line, strict=True):
            if any(character in cell for character in "\t\n\r"):
                raise DataError(
                    f"The column {name!r} has the value {shortened(cell)} with a tab or a newline, "
                    "which separate cells and rows of text. Use --output-format tsv, csv or jsonl."
                )


def not_text_row(rows: Sequence[Row]) -> DataError:
    """Return the error for the first row that is not UTF-8 text."""
    for row in rows:
        try:
            "".join(map(str, row.values())).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return DataError(
                f"The row {shortened(row)} cannot be written as UTF-8, as it has a lone surrogate. "
                "Replace that."
            )
    raise AssertionError("some row could not be encoded")


def _text_rows(keys: Sequence[object], values: Sequence[object]) -> str:
    kinds = set(map(type, values))
    if NoneType in kinds:
        return "".join(
            f"{key!s}\n" if value is None else f"{key!s}\t{value!s}\n"
            for key, value in zip(keys, values, strict=True)
        )
    # One join of all cells: a third less time than to format them, and a half less than row by row.
    cells: list[Any] = ["", "\t", "", "\n"] * len(keys)
    cells[0::4] = keys if set(map(type, keys)) == {str} else map(str, keys)
    cells[2::4] = map(int.__repr__, values) if kinds == {int} else map(str, values)
    return "".join(cells)


def _check_lines(keys: Sequence[object], values: Sequence[object]) -> None:
    """Raise DataError for a pair with a value that would not be one line.

    A key without a value is a line of the output as it is, or several.
    """
    for key, value in zip(keys, values, strict=True):
        if value is None:
            continue
        name = str(key)
        if "\n" in name or "\r" in name:
            what = f"The key {shortened(key)}"
        elif "\n" in str(value):
            what = f"The value {shortened(value)} of the key {shortened(key)}"
        else:
            continue
        raise DataError(
            f"{what} has a newline, and in text output a pair is one line. "
            "Use --output-format jsonl or csv."
        )


def not_text(keys: Sequence[object], values: Sequence[object]) -> DataError:
    """Return the error for the first pair that is not UTF-8 text."""
    for key, value in zip(keys, values, strict=True):
        try:
            f"{key!s}{value!s}".encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return DataError(
                f"The pair {shortened(key)}: {shortened(value)} cannot be written as UTF-8, as "
                "it has a lone surrogate. Replace that."
            )
    raise AssertionError("some pair could not be encoded")


def _joins(array: pa.Array[Any]) -> bool:
    """Return whether Arrow writes these values as `str()` does (it does not for floats, bools)."""
    import pyarrow as pa

    kind = array.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return (text or pa.types.is_integer(kind)) and not array.null_count


def _characters(array: pa.Array[Any]) -> bytes:
    """Return the text of all strings of an array; nothing for numbers."""
    import pyarrow as pa

    if pa.types.is_integer(array.type) or not len(array):
        return b""
    _, offsets, data = array.buffers()
    if offsets is None or data is None:
        return b""
    ends = memoryview(offsets).cast("i" if pa.types.is_string(array.type) else "q")
    start, end = ends[array.offset], ends[array.offset + len(array)]
    return data.slice(start, end - start).to_pybytes()


def _joined(keys: pa.Array[Any], values: pa.Array[Any] | None = None) -> memoryview | bytes:
    """Return the text of n pairs, or of n keys without values but for the last newline."""
    import pyarrow as pa
    import pyarrow.compute as pc

    size_bytes = keys.nbytes + (0 if values is None else values.nbytes)
    kind: Any = pa.large_string() if size_bytes > _MAX_STRING_BYTES else pa.string()
    join: Any = pc.binary_join_element_wise  # its stub knows no scalars
    join_all: Any = pc.binary_join
    tab, newline, nothing = (pa.scalar(text, kind) for text in ("\t", "\n", ""))
    if values is None:
        # One list of all keys: a third less time than a join of each key with nothing.
        lines = join_all(pa.ListArray.from_arrays([0, len(keys)], keys.cast(kind)), newline)
    else:
        lines = join(keys.cast(kind), tab, values.cast(kind), newline, nothing)
    return memoryview(lines.buffers()[2])
