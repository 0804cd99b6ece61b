"""Batches of records, columnwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import TypeAlias

from mrcore.errors import DataError
from mrcore.model.job import Codec
from mrcore.model.task import Piece
from mrcore.records.lines import line_blocks
from mrcore.records.sources import open_source

BLOCK_BYTES = 256 << 10
"""A block and its lines stay in the processor's cache."""
ARROW_BLOCK_BYTES = 1 << 20
"""Arrow works by columns: fewer, larger batches."""

Offsets: TypeAlias = Sequence[int] | Callable[[], Sequence[int]]


class BrokenRecordError(DataError):
    """A record is not of its file's format; what follows it can be read."""

    def __init__(self, message: str, offset: int, record: str) -> None:
        super().__init__(message)
        self.offset = offset
        self.record = record
        """The record as text."""


OnBroken: TypeAlias = Callable[[BrokenRecordError], None]
"""Takes a broken record that is to be skipped, or raises it."""


def refuse(error: BrokenRecordError) -> None:
    """Raise the error: no broken record is skipped."""
    raise error


class Batch:
    """Records that follow each other in one piece, columnwise: n values, n offsets, n keys."""

    __slots__ = ("_offsets", "piece", "size_bytes", "values")

    def __init__(
        self, piece: Piece, values: Sequence[object], offsets: Offsets, size_bytes: int
    ) -> None:
        self.piece = piece
        self.values = values
        self.size_bytes = size_bytes
        """Bytes of the stored file that were read for this batch."""
        self._offsets = offsets

    @property
    def offsets(self) -> Sequence[int]:
        """Start of each record, in the unit of its format's key; 0 for a whole file.

        Worked out when first asked for: many a map function never looks at its key.
        """
        if callable(self._offsets):
            self._offsets = self._offsets()
        return self._offsets

    def keys(self) -> Iterable[object]:
        """Return the keys that `map` gets, one a value, lazily."""
        return zip(repeat(self.piece.shown), self.offsets, strict=False)


class WholeBatch(Batch):
    """A file that is one record; its key is the file alone."""

    __slots__ = ()

    def keys(self) -> Iterable[object]:
        """Return the file as shown."""
        return (self.piece.shown,)


def piece_blocks(piece: Piece, block_bytes: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield (offset, block of whole lines, stored bytes read for it) of a piece."""
    plain = piece.codec is Codec.NONE
    end = piece.end if piece.end < piece.size_bytes else None
    counted = 0
    with open_source(piece) as source:
        blocks = line_blocks(source.read, piece.start, end, block_bytes, shown=piece.shown)
        for offset, block in blocks:
            # A plain file is counted by its lines, so that its pieces add up to its size.
            yield offset, block, len(block) if plain else source.input_bytes - counted
            counted = source.input_bytes
