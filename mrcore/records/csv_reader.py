"""Rows of csv files as dicts.

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
from mrcore.records.lines import BYTE_ORDER_MARK, decode, line_blocks, line_starts
from mrcore.records.sources import Source, open_source
from mrcore.tasks.spec import Piece

MAX_FIELD_BYTES = 64 << 20
"""The library's own limit of 128 KiB would refuse a long text in a cell."""


def csv_batches(piece: Piece) -> Iterator[Batch]:
    """Yield the rows of a whole csv file; offsets are those of the rows' first bytes.

    Raises DataError naming the row's offset for a malformed row.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_BYTES))
    with open_source(piece, InputFormat.CSV) as source:
        lines = _Lines(source, piece.shown)
        rows = _rows(lines, piece.shown)
        _, names = next(rows, (0, []))
        if len(set(names)) < len(names):
            raise DataError(f"{piece.shown} names a column twice in its first row: rename one.")
        values: list[object] = []
        offsets: list[int] = []
        counted = blocks = 0
        for offset, row in rows:
            if len(row) != len(names):
                raise DataError(
                    f"{piece.shown} has a row of {len(row)} fields at byte {offset}, but its first "
                    f"row has {len(names)}: correct the row."
                )
            if lines.blocks > blocks and values:
                yield Batch(piece, values, offsets, source.input_bytes - counted)
                values, offsets = [], []
                counted = source.input_bytes
            blocks = lines.blocks
            values.append(dict(zip(names, row, strict=True)))
            offsets.append(offset)
        if values:
            yield Batch(piece, values, offsets, source.input_bytes - counted)


def _rows(lines: _Lines, shown: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the offset and the fields of each row that is not blank."""
    reader = csv.reader(lines, strict=True)
    while True:
        first = reader.line_num
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{shown} has a row at byte {lines.offset_of(first)} that is not valid csv "
                f"({error}): correct its quotes."
            ) from error
        if row is None:
            return
        if row:
            yield lines.offset_of(first), row


class _Lines:
    """The lines of a file with their ends, for `csv.reader`, and where each of them starts."""

    def __init__(self, source: Source, shown: str) -> None:
        self.blocks = 0
        self._blocks = line_blocks(source.read, 0, None, BLOCK_BYTES, shown=shown)
        self._lines: Iterator[str] = iter(())
        self._starts: list[tuple[int, Sequence[int]]] = []
        self._count = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while (line := next(self._lines, None)) is None:
            self._load()
        return line

    def _load(self) -> None:
        offset, block = next(self._blocks)
        starts = line_starts(block, offset)
        if not offset:
            block = block.removeprefix(BYTE_ORDER_MARK)
        # Not `splitlines`, which knows more kinds of line ends than csv does.
        ended = block.endswith(b"\n")
        lines = decode(block).split("\n")
        last = lines.pop()
        self._lines = iter([f"{line}\n" for line in lines] + ([] if ended else [last]))
        self._starts.append((self._count, starts))
        self._count += len(starts)
        self.blocks += 1

    def offset_of(self, line: int) -> int:
        """Return where line `line` starts; earlier ones may not be asked for any more."""
        while len(self._starts) > 1 and line >= self._starts[1][0]:
            self._starts.pop(0)
        first, starts = self._starts[0]
        return starts[line - first]
