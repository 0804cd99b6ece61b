"""Rows of csv files, and batches of them as dicts.

The first row names the columns; a byte order mark, blank rows and quoted newlines are understood. A
row of another length, and quotes that do not match, are errors: a stray quote would else swallow
what follows it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator

from mrcore.errors import DataError
from mrcore.job import InputFormat
from mrcore.records.batches import BLOCK_BYTES, Batch, BrokenRecordError, OnBroken, refuse
from mrcore.records.lines import decode, line_blocks, line_starts, without_mark
from mrcore.records.sources import Source, open_source
from mrcore.tasks.spec import Piece

MAX_FIELD_BYTES = 64 << 20
"""The library's own limit of 128 KiB would refuse a long text in a cell."""


def csv_batches(piece: Piece, on_broken: OnBroken = refuse) -> Iterator[Batch]:
    """Yield the rows of a whole csv file; offsets are those of the rows' first bytes.

    `on_broken` gets each malformed row.
    """
    with open_source(piece, InputFormat.CSV) as source:
        rows = CsvRows(source, piece.shown, BLOCK_BYTES, on_broken)
        counted = 0
        while found := rows.of_a_block():
            values = [dict(zip(rows.names, row, strict=True)) for _, row in found]
            offsets = [offset for offset, _ in found]
            yield Batch(piece, values, offsets, source.input_bytes - counted)
            counted = source.input_bytes


class CsvRows:
    """The rows of a csv file behind its header.

    Raises DataError for a malformed header and for a column that is named twice.
    """

    def __init__(
        self, source: Source, shown: str, block_bytes: int, on_broken: OnBroken = refuse
    ) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_BYTES))
        self._shown = shown
        self._on_broken: OnBroken = refuse
        self._lines = _Lines(source, shown, block_bytes)
        self._reader = csv.reader(self._lines, strict=True)
        _, self.names = self._next() or (0, [])
        """Names of the columns."""
        if len(set(self.names)) < len(self.names):
            raise DataError(f"{shown} names a column twice in its first row: rename one.")
        self._on_broken = on_broken

    def of_a_block(self) -> list[tuple[int, list[str]]]:
        """Return offset and fields of each row that ends in the next block; none at the end."""
        rows: list[tuple[int, list[str]]] = []
        while (found := self._next()) is not None:
            offset, row = found
            if len(row) == len(self.names):
                rows.append(found)
            else:
                self._broken(
                    f"{self._shown} has a row of {len(row)} fields at byte {offset}, but its first "
                    f"row has {len(self.names)}: correct the row."
                )
            if self._lines.at_end_of_block and rows:
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
            self._lines.begin_row()
            try:
                row = next(self._reader, None)
            except csv.Error as error:
                self._malformed(error)
                continue
            if row is None:
                return None
            if row:
                return self._lines.row_offset, row

    def _malformed(self, error: csv.Error) -> None:
        """Skip the first line of the row: a stray quote may have swallowed those that follow."""
        offset = self._lines.row_offset
        if "new-line character" in str(error):
            self._broken(
                f"{self._shown} has a carriage return without a newline in the row at byte "
                f"{offset}: convert its line ends to LF or CRLF, or put the field in quotes."
            )
        else:
            self._broken(
                f"{self._shown} has a row at byte {offset} that is not valid csv ({error}): "
                "correct its quotes."
            )
        self._lines.back_to_second()

    def _broken(self, message: str) -> None:
        self._on_broken(
            BrokenRecordError(message, self._lines.row_offset, self._lines.first_of_row)
        )


class _Lines:
    """The lines of a file with their ends, for `csv.reader`, and where each of them starts."""

    def __init__(self, source: Source, shown: str, block_bytes: int) -> None:
        self._blocks = line_blocks(source.read, 0, None, block_bytes, shown=shown)
        self._block: tuple[int, bytes] | None = None
        """Offset and content of a block of which no line has been read."""
        self._lines: Iterator[tuple[int, str]] = iter(())
        self._left = 0
        self._row: list[tuple[int, str]] = []
        """Lines that have been read for the row."""

    @property
    def at_end_of_block(self) -> bool:
        """Tell whether all lines of the block have been read."""
        return not self._left

    @property
    def row_offset(self) -> int:
        """Return where the row starts."""
        return self._row[0][0]

    @property
    def first_of_row(self) -> str:
        """Return the first line of the row without its end."""
        return self._row[0][1].rstrip("\r\n")

    def begin_row(self) -> None:
        """Forget the lines of the row before."""
        self._row.clear()

    def back_to_second(self) -> None:
        """Let all lines of the row but its first be read again."""
        again = self._row[1:]
        if again:
            self._lines = iter([*again, *self._lines])
            self._left += len(again)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while (line := next(self._lines, None)) is None:
            self._split(self._block or next(self._blocks))
        self._left -= 1
        self._row.append(line)
        return line[1]

    def _split(self, found: tuple[int, bytes]) -> None:
        offset, block = found
        starts = line_starts(block, offset)
        # Not `splitlines`, which knows more kinds of line ends than csv does.
        lines = decode(without_mark(block, offset)).split("\n")
        last = lines.pop()
        ended = [f"{line}\n" for line in lines]
        if not block.endswith(b"\n"):
            ended.append(last)
        self._lines = zip(starts, ended, strict=True)
        self._left = len(starts)
        self._block = None

    def rest(self) -> tuple[int, bytes]:
        """Return offset and bytes of the lines that are left in this block, or else in the next.

        There are no bytes at the end of the file.
        """
        if self._left:
            left = list(self._lines)
            self._lines = iter(left)
            text = "".join(line for _, line in left)
            return left[0][0], text.encode("utf-8", "surrogateescape")
        self._block = self._block or next(self._blocks, None)
        return self._block or (0, b"")

    def skip_rest(self) -> None:
        """Pass over the lines that `rest` has returned."""
        self._lines, self._left, self._block = iter(()), 0, None
