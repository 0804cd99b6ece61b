"""Readers: from a piece of input to batches of records.

`open_batches` calls the reader that the format names (`mrcore.model.formats`). Those of text,
blocks, jsonl and whole files are here. A byte order mark at the start of a file is passed over, and
counted. Files are shown as the user gave them. Offsets of a compressed file count decompressed
bytes.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from mrcore.errors import DataError, InputError
from mrcore.model.formats import file_format
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
from mrcore.records.inputs import InputFile
from mrcore.records.lines import (
    MAX_LINE_BYTES,
    decode,
    line_starts,
    split_lines,
    without_mark,
)
from mrcore.records.sources import Source, check_first_bytes, open_source
from mrcore.util.lazy import load

__all__ = ["Batch", "BrokenRecordError", "WholeBatch", "open_batches"]

Reader: TypeAlias = Callable[[Piece, OnBroken], Iterator[Batch]]
MAX_FILE_BYTES = MAX_LINE_BYTES
"""A file that is one record may not be larger, decompressed."""


def open_batches(piece: Piece, on_broken: OnBroken = refuse) -> Iterator[Batch]:
    """Yield the records of a piece in order, in batches that are never empty.

    `on_broken` gets the lines of jsonl and the rows of csv that are broken; lines of JSON for Arrow
    share a schema, and are refused. Memory is bounded by the block size or the longest record.
    Raises DataError for what is truncated, corrupt, not of the format, or changed since it was
    listed, and StorageError.
    """
    reader: Reader = load(file_format(piece.format).reader)
    if piece.first_offset or piece.end_offset:
        return _between(reader, piece, on_broken)
    return reader(piece, on_broken)


def _between(reader: Reader, piece: Piece, on_broken: OnBroken) -> Iterator[Batch]:
    """Yield the records whose offsets are those of the piece; others are read and passed over."""
    first, end = piece.first_offset, piece.end_offset or sys.maxsize

    def on_ours(error: BrokenRecordError) -> None:
        if first <= error.offset < end:
            on_broken(error)

    for batch in reader(piece, on_ours):
        low, high = bisect_left(batch.offsets, first), bisect_left(batch.offsets, end)
        if low < high:
            size_bytes = batch.size_bytes * (high - low) // len(batch.values)
            values, offsets = batch.values[low:high], batch.offsets[low:high]
            yield type(batch)(piece, values, offsets, size_bytes)
        if high < len(batch.values):
            return


def examine(files: Sequence[InputFile], target_bytes: int) -> Mapping[str, Sequence[int]]:
    """Raise InputError where the first file with content is not of its format, by its first bytes.

    A wrong format is mostly that of all files, and is reported before any task starts. Tasks look
    at each file that they read. Return no points to cut at.
    """
    del target_bytes  # how a file is cut does not depend on what is in it
    first = next((file for file in files if file.size_bytes), None)
    if first is not None:
        try:
            check_first_bytes(first.piece(0, first.size_bytes))
        except DataError as error:
            raise InputError(str(error)) from error
    return {}


def text_batches(piece: Piece, on_broken: OnBroken) -> Iterator[Batch]:
    """Yield the lines of a piece, without their ends."""
    del on_broken  # no line is broken
    for offset, block, size_bytes in piece_blocks(piece, BLOCK_BYTES):
        lines = split_lines(without_mark(block, offset))
        if lines:
            yield Batch(piece, lines, partial(line_starts, block, offset), size_bytes)


def block_batches(piece: Piece, on_broken: OnBroken) -> Iterator[Batch]:
    """Yield blocks of whole lines, as text."""
    del on_broken  # no block is broken
    for offset, block, size_bytes in piece_blocks(piece, BLOCK_BYTES):
        text = decode(without_mark(block, offset))
        if text:
            yield Batch(piece, (text,), (offset,), size_bytes)


def jsonl_batches(piece: Piece, on_broken: OnBroken) -> Iterator[Batch]:
    """Yield what the JSON of each line says."""
    from mrcore.records.jsonlines import parse_lines

    for offset, block, size_bytes in piece_blocks(piece, BLOCK_BYTES):
        values, offsets = parse_lines(block, offset, piece.shown, on_broken)
        if values:
            yield Batch(piece, values, offsets, size_bytes)


def whole_batches(piece: Piece, on_broken: OnBroken) -> Iterator[Batch]:
    """Yield the content of a file as one record."""
    del on_broken  # no file is broken
    with open_source(piece) as source:
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
