"""From a piece of input to batches of records.

What `map` gets, by input format:

========  =====================================  ================================================
format    value                                  key
========  =====================================  ================================================
text      a line without its end, str            (file, byte offset of the line)
blocks    about 256 KiB of lines as they are     (file, byte offset of the block)
whole     the content of the file, str           the file
jsonl     what the line's JSON says              (file, byte offset of the line)
csv       dict of str by the header's names      (file, byte offset of the row)
parquet   dict by column                         (file, row number)
arrow     a pyarrow.RecordBatch                  (file, byte offset; csv, parquet: row number)
========  =====================================  ================================================

A byte order mark at the start of a file is passed over, and counted. Files are shown as the user
gave them. Offsets of a compressed file count decompressed bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

from mrcore.errors import DataError
from mrcore.model.job import InputFormat
from mrcore.model.task import Piece
from mrcore.records.batches import (
    ARROW_BLOCK_BYTES,
    BLOCK_BYTES,
    Batch,
    BrokenRecordError,
    OnBroken,
    WholeBatch,
    piece_blocks,
    refuse,
)
from mrcore.records.formats import content_of
from mrcore.records.lines import (
    MAX_LINE_BYTES,
    decode,
    line_starts,
    split_lines,
    without_mark,
)
from mrcore.records.sources import Source, open_source

__all__ = ["Batch", "BrokenRecordError", "WholeBatch", "open_batches"]

MakeBatch: TypeAlias = Callable[[Piece, int, bytes, int], Batch | None]
MAX_FILE_BYTES = MAX_LINE_BYTES
"""A file that is one record may not be larger, decompressed."""


def open_batches(
    piece: Piece, input_format: InputFormat, on_broken: OnBroken = refuse
) -> Iterator[Batch]:
    """Yield the records of a piece in order, in batches that are never empty.

    `on_broken` gets the lines of jsonl and the rows of csv that are broken; lines of JSON for Arrow
    share a schema, and are refused. Memory is bounded by the block size or the longest record.
    Raises DataError for what is truncated, corrupt, not of the format, or changed since it was
    listed, and StorageError.
    """
    content = content_of(piece.uri, input_format)
    as_arrow = input_format is InputFormat.ARROW
    if content is InputFormat.PARQUET:
        from mrcore.records.parquet_reader import parquet_batches

        return parquet_batches(piece, as_arrow=as_arrow)
    if as_arrow:
        from mrcore.records.arrow_reader import arrow_batches

        return arrow_batches(piece, content, on_broken)
    if content is InputFormat.CSV:
        from mrcore.records.csv_reader import csv_batches

        return csv_batches(piece, on_broken)
    if content is InputFormat.WHOLE:
        return _whole(piece)
    make: dict[InputFormat, MakeBatch] = {
        InputFormat.TEXT: _text,
        InputFormat.BLOCKS: _block,
        InputFormat.JSONL: partial(_jsonl, on_broken),
    }
    return _by_blocks(piece, content, make[content])


def _by_blocks(piece: Piece, content: InputFormat, make: MakeBatch) -> Iterator[Batch]:
    for offset, block, size_bytes in piece_blocks(piece, content, BLOCK_BYTES):
        batch = make(piece, offset, block, size_bytes)
        if batch is not None:
            yield batch


def _text(piece: Piece, offset: int, block: bytes, size_bytes: int) -> Batch | None:
    lines = split_lines(without_mark(block, offset))
    return Batch(piece, lines, lambda: line_starts(block, offset), size_bytes) if lines else None


def _block(piece: Piece, offset: int, block: bytes, size_bytes: int) -> Batch | None:
    text = decode(without_mark(block, offset))
    return Batch(piece, (text,), (offset,), size_bytes) if text else None


def _jsonl(
    on_broken: OnBroken, piece: Piece, offset: int, block: bytes, size_bytes: int
) -> Batch | None:
    from mrcore.records.jsonlines import parse_lines

    values, offsets = parse_lines(block, offset, piece.shown, on_broken)
    return Batch(piece, values, offsets, size_bytes) if values else None


def _whole(piece: Piece) -> Iterator[Batch]:
    with open_source(piece, InputFormat.WHOLE) as source:
        content = without_mark(read_all(source, piece), 0)
        yield WholeBatch(piece, (decode(content),), (0,), source.input_bytes)


def read_all(source: Source, piece: Piece) -> bytes:
    """Return the content of a file that is one record; raise DataError when it is too large."""
    blocks: list[bytes] = []
    held = 0
    while data := source.read(ARROW_BLOCK_BYTES):
        blocks.append(data)
        held += len(data)
        if held > MAX_FILE_BYTES:
            raise DataError(
                f"{piece.shown} is larger than {MAX_FILE_BYTES} bytes, too large for one record. "
                "Use --input-format text or blocks."
            )
    return b"".join(blocks)
