"""Rows of csv files, and batches of them as dicts.

The first row names the columns; a byte order mark, blank rows and quoted newlines are understood. A
row of another length, and quotes that do not match, are errors: a stray quote would else swallow
what follows it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

from mrcore.errors import DataError
from mrcore.job import InputFormat
from mrcore.records.batches import BLOCK_BYTES, Batch
from mrcore.records.lines import decode, line_blocks, line_starts, without_mark
from mrcore.records.sources import Source, open_source
from mrcore.tasks.spec import Piece

MAX_FIELD_BYTES = 64 << 20
"""The library's own limit of 128 KiB would refuse a long text in a cell."""


def csv_batches(piece: Piece) -> Iterator[Batch]:
    """Yield the rows of a whole csv file; offsets are those of the rows' first bytes.

    Raises DataError naming the row's offset for a malformed row.
    """
    with open_source(piece, InputFormat.CSV) as source:
        rows = CsvRows(source, piece.shown, BLOCK_BYTES)
        counted = 0
        while found := rows.of_a_block():
            values = [dict(zip(rows.names, row, strict=True)) for _, row in found]
            offsets = [offset for offset, _ in found]
            yield Batch(piece, values, offsets, source.input_bytes - counted)
            counted = source.input_bytes


class CsvRows:
    """The rows of a csv file behind its header.

    Raises DataError for a column that is named twice, and for a malformed row.
    """

    def __init__(self, source: Source, shown: str, block_bytes: int) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_BYTES))
        self._shown = shown
        self._lines = _Lines(source, shown, block_bytes)
        self._reader = csv.reader(self._lines, strict=True)
        _, self.names = self._next() or (0, [])
        """Names of the columns."""
        if len(set(self.names)) < len(self.names):
            raise DataError(f"{shown} names a column twice in its first row: rename one.")

    def of_a_block(self) -> list[tuple[int, list[str]]]:
        """Return offset and fields of each row that ends in the next block; none at the end."""
        rows: list[tuple[int, list[str]]] = []
        while (found := self._next()) is not None:
            offset, row = found
            if len(row) != len(self.names):
                raise DataError(
                    f"{self._shown} has a row of {len(row)} fields at byte {offset}, but its first "
                    f"row has {len(self.names)}: correct the row."
                )
            rows.append(found)
            if self._lines.at_end_of_block:
                break
        return rows

    def rest_of_block(self) -> tuple[int, bytes]:
        """Return offset and bytes of the rows that follow in a block; no bytes at the end."""
        return self._lines.rest()

    def skip_block(self) -> None:
        """Pass over what `rest_of_block` has returned."""
        self._lines.skip_rest()

    def _next(self) -> tuple[int, list[str]] | None:
        """Return the offset and the fields of the next row that is not blank; None at the end."""
        while True:
            first = self._reader.line_num
            try:
                row = next(self._reader, None)
            except csv.Error as error:
                raise self._malformed(self._lines.offset_of(first), error) from error
            if row is None:
                return None
            if row:
                return self._lines.offset_of(first), row

    def _malformed(self, offset: int, error: csv.Error) -> DataError:
        if "new-line character" in str(error):
            return DataError(
                f"{self._shown} has a carriage return without a newline in the row at byte "
                f"{offset}: convert its line ends to LF or CRLF, or put the field in quotes."
            )
        return DataError(
            f"{self._shown} has a row at byte {offset} that is not valid csv ({error}): "
            "correct its quotes."
        )


class _Lines:
    """The lines of a file with their ends, for `csv.reader`, and where each of them starts."""

    def __init__(self, source: Source, shown: str, block_bytes: int) -> None:
        self._blocks = line_blocks(source.read, 0, None, block_bytes, shown=shown)
        self._offset = 0
        self._block = b""
        self._is_new = False
        """Whether no line of the block has been read."""
        self._lines: Iterator[str] = iter(())
        self._starts: list[tuple[int, Sequence[int]]] = []
        """Of this block and some earlier ones: the lines read before it, and all lines' starts."""
        self._left = 0
        self._read = 0
        """Lines that have been read: skipped ones do not count."""

    @property
    def at_end_of_block(self) -> bool:
        """Tell whether all lines of the block have been read."""
        return not self._left

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while (line := next(self._lines, None)) is None:
            if not self._is_new:
                self._load()
            self._split()
        self._left -= 1
        self._read += 1
        return line

    def _load(self) -> None:
        self._offset, self._block = next(self._blocks)
        self._is_new = True

    def _split(self) -> None:
        block, starts = self._block, line_starts(self._block, self._offset)
        block = without_mark(block, self._offset)
        # Not `splitlines`, which knows more kinds of line ends than csv does.
        ended = block.endswith(b"\n")
        lines = decode(block).split("\n")
        last = lines.pop()
        self._lines = iter([f"{line}\n" for line in lines] + ([] if ended else [last]))
        self._starts.append((self._read, starts))
        self._left = len(starts)
        self._is_new = False

    def rest(self) -> tuple[int, bytes]:
        """Return offset and bytes of the lines that are left in this block, or else in the next.

        There are no bytes at the end of the file.
        """
        if self._left:
            offset = self._starts[-1][1][-self._left]
            return offset, self._block[offset - self._offset :]
        if not self._is_new:
            try:
                self._load()
            except StopIteration:
                return self._offset, b""
        return self._offset, self._block

    def skip_rest(self) -> None:
        """Pass over the lines that `rest` has returned."""
        self._lines = iter(())
        self._left = 0
        self._is_new = False

    def offset_of(self, line: int) -> int:
        """Return where line `line` starts; earlier ones may not be asked for any more."""
        while len(self._starts) > 1 and line >= self._starts[1][0]:
            self._starts.pop(0)
        first, starts = self._starts[0]
        return starts[line - first]
