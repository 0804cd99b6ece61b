"""Rows of csv files, and batches of them as dicts.

The first row names the columns; a byte order mark, blank rows and quoted newlines are understood. A
row of another length, and quotes that do not match, are errors: a stray quote would else swallow
what follows it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

from mrcore.errors import DataError
from mrcore.model.task import Piece
from mrcore.records.batches import BLOCK_BYTES, Batch, BrokenRecordError, OnBroken, refuse
from mrcore.records.lines import decode, line_blocks, line_starts, without_mark
from mrcore.records.sources import Source, open_source

_NO_END = "unexpected end of data"
"""The library's word for a quote that is open where the lines end."""
MAX_FIELD_BYTES = 64 << 20
"""The library's own limit of 128 KiB would refuse a long text in a cell."""


def csv_batches(piece: Piece, on_broken: OnBroken = refuse) -> Iterator[Batch]:
    """Yield the rows of a whole csv file; offsets are those of the rows' first bytes.

    `on_broken` gets each malformed row.
    """
    return _batches(piece, on_broken, ",")


def tsv_batches(piece: Piece, on_broken: OnBroken = refuse) -> Iterator[Batch]:
    """Yield the rows of a whole tsv file; otherwise as `csv_batches`."""
    return _batches(piece, on_broken, "\t")


def _batches(piece: Piece, on_broken: OnBroken, delimiter: str) -> Iterator[Batch]:
    with open_source(piece) as source:
        rows = CsvRows(source, piece.shown, BLOCK_BYTES, on_broken, delimiter)
        counted = 0
        while rows.load():
            names, offsets, values = rows.names, list[int](), list[object]()
            for offset, row in rows.parse():
                offsets.append(offset)
                values.append(dict(zip(names, row, strict=True)))
            if values:
                yield Batch(piece, values, offsets, source.input_bytes - counted)
                counted = source.input_bytes


class CsvRows:
    """The rows of a csv file behind its header, some at a time: `load`, then `parse` or `skip`.

    Raises DataError for a malformed header and for a column that is named twice.
    """

    def __init__(
        self,
        source: Source,
        shown: str,
        block_bytes: int,
        on_broken: OnBroken = refuse,
        delimiter: str = ",",
    ) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_BYTES))
        self.offset = 0
        """Offset of `data` in the file."""
        self.data = b""
        """Bytes from the start of a row on."""
        self.is_partial = False
        """Whether the row that `data` starts with had no end, as far as it was read."""
        self.names: list[str] = []
        """Names of the columns."""
        self._delimiter = delimiter
        self._shown = shown
        self._on_broken: OnBroken = refuse
        self._blocks = line_blocks(source.read, 0, None, block_bytes, shown=shown)
        self._is_final = False
        while not self.names and self.load():
            self._take_header()
        if len(set(self.names)) < len(self.names):
            raise DataError(f"{shown} names a column twice in its first row. Rename one.")
        self._on_broken = on_broken

    def load(self) -> bool:
        """Have bytes in `data` that were not parsed; return False at the end of the file.

        A row that has no end yet gets as much again, so that a long one is not parsed too often.
        """
        if self.data and not self.is_partial:
            return True
        blocks = [self.data]
        wanted = len(self.data)
        while (found := next(self._blocks, None)) is not None:
            offset, block = found
            if not self.data and len(blocks) == 1:
                self.offset = offset
            blocks.append(block)
            wanted -= len(block)
            if wanted <= 0:
                break
        self._is_final = found is None
        self.data = b"".join(blocks)
        return bool(self.data)

    def skip(self) -> None:
        """Pass over `data`."""
        self.data, self.is_partial = b"", False

    def parse(self) -> Iterator[tuple[int, list[str]]]:
        """Yield offset and fields of the rows in `data`; a last one without an end stays there."""
        starts, lines = self._lines()
        begin, width = 0, len(self.names)
        while begin < len(lines):
            before = begin
            some = lines[before:] if before else lines
            reader = csv.reader(some, delimiter=self._delimiter, strict=True)
            try:
                for row in reader:
                    if len(row) == width:
                        yield starts[begin], row
                    elif row:
                        self._misfit(len(row), starts[begin], lines[begin])
                    begin = before + reader.line_num
            except csv.Error as error:
                if self._lacks_end(error):
                    self._keep_from(starts, begin)
                    self.is_partial = True
                    return
                self._malformed(error, starts[begin], lines[begin])
                # A stray quote may have swallowed the lines that follow: they are read again.
                begin += 1
        self.skip()

    def _take_header(self) -> None:
        """Take the first row that is not blank off `data`."""
        starts, lines = self._lines()
        reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
        begin = 0
        try:
            while not self.names and (row := next(reader, None)) is not None:
                self.names = row
                begin = reader.line_num
        except csv.Error as error:
            if not self._lacks_end(error):
                self._malformed(error, starts[begin], lines[begin])
        self._keep_from(starts, begin)
        self.is_partial = not self.names

    def _lines(self) -> tuple[Sequence[int], list[str]]:
        """Return where each line of `data` starts, and the lines with their ends."""
        # Not `splitlines`, which knows more kinds of line ends than csv does.
        lines = decode(without_mark(self.data, self.offset)).split("\n")
        last = lines.pop()
        ended = [f"{line}\n" for line in lines]
        if not self.data.endswith(b"\n"):
            ended.append(last)
        return line_starts(self.data, self.offset), ended

    def _lacks_end(self, error: csv.Error) -> bool:
        """Return whether the row may go on in the next block."""
        return str(error) == _NO_END and not self._is_final

    def _keep_from(self, starts: Sequence[int], line: int) -> None:
        """Keep `data` from this line on."""
        if line == len(starts):
            self.skip()
        else:
            self.data = self.data[starts[line] - self.offset :]
            self.offset, self.is_partial = starts[line], False

    def _misfit(self, fields: int, offset: int, line: str) -> None:
        message = (
            f"{self._shown} has a row of {fields} fields at byte {offset}, but its first row has "
            f"{len(self.names)}. Correct the row."
        )
        self._on_broken(BrokenRecordError(message, offset, line.rstrip("\r\n")))

    def _malformed(self, error: csv.Error, offset: int, line: str) -> None:
        kind = "tsv" if self._delimiter == "\t" else "csv"
        if "new-line character" in str(error):
            message = (
                f"{self._shown} has a carriage return without a newline in the row at byte "
                f"{offset}. Convert its line ends to LF or CRLF, or put the field in quotes."
            )
        else:
            message = (
                f"{self._shown} has a row at byte {offset} that is not valid {kind} ({error}). "
                "Correct its quotes."
            )
        self._on_broken(BrokenRecordError(message, offset, line.rstrip("\r\n")))
