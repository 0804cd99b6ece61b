"""Input as record batches: lines of text, lines of JSON, csv. Parquet is in `parquet_reader`.

Columns of jsonl are inferred for each batch, those of csv from the start of each file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from mrcore.errors import DataError
from mrcore.job import InputFormat
from mrcore.records.batches import ARROW_BLOCK_BYTES, Batch, piece_blocks
from mrcore.records.lines import BYTE_ORDER_MARK
from mrcore.records.sources import Source, open_source
from mrcore.tasks.spec import Piece

LINE_SCHEMA = pa.schema([("line", pa.string())])
CSV_BLOCK_BYTES = 4 << 20
"""A csv row must fit in it."""


def arrow_batches(piece: Piece, content: InputFormat) -> Iterator[Batch]:
    """Yield batches of one pyarrow.RecordBatch each.

    Offsets are bytes for text and jsonl, the number of the batch's first row for csv. Raises
    DataError for a line that is not UTF-8 or not JSON, and for malformed csv.
    """
    if content is InputFormat.CSV:
        yield from _csv(piece)
        return
    convert = _json if content is InputFormat.JSONL else _lines
    for offset, block, size_bytes in piece_blocks(piece, content, ARROW_BLOCK_BYTES):
        batch = convert(block, offset, piece.shown)
        if batch is not None:
            yield Batch(piece, (batch,), (offset,), size_bytes)


def _lines(block: bytes, offset: int, shown: str) -> pa.RecordBatch:
    """Return the lines of a block without their ends."""
    import pyarrow.compute as pc

    text = _text(block, offset, shown)
    if b"\r" in block and b"\r\n" in block:
        block = block.replace(b"\r\n", b"\n")
        text = _string(block)
    split: Any = pc.split_pattern
    lines = split(text, "\n").values
    if block.endswith(b"\n"):
        lines = lines[:-1]
    return pa.RecordBatch.from_arrays([lines], schema=LINE_SCHEMA)


def _text(block: bytes, offset: int, shown: str) -> Any:
    """Return an array of one string that is the block; raise DataError unless it is UTF-8."""
    text = _string(block)
    try:
        text.validate(full=True)
    except pa.ArrowInvalid as error:
        raise _not_utf8(block, offset, shown) from error
    return text


def _string(block: bytes) -> Any:
    """Return an array of one string that is the block itself, not a copy."""
    import numpy as np

    ends: Any = np.array([0, len(block)], np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(block)]
    return pa.Array.from_buffers(pa.string(), 1, buffers)


def _not_utf8(block: bytes, offset: int, shown: str) -> DataError:
    try:
        block.decode()
    except UnicodeDecodeError as error:
        offset += error.start
    return DataError(
        f"{shown} is not UTF-8 at byte {offset}, so Arrow cannot hold it as text: convert the "
        "file, or use --input-format text."
    )


def _json(block: bytes, offset: int, shown: str) -> pa.RecordBatch | None:
    """Return the columns of a block of JSON objects, None when all its lines are blank."""
    import pyarrow.json as pj

    _text(block, offset, shown)  # Arrow's reader does not look
    if not offset:
        block = block.removeprefix(BYTE_ORDER_MARK)
    if not block.strip():
        return None
    options = pj.ReadOptions(use_threads=False, block_size=len(block) + 1)
    try:
        source: Any = pa.BufferReader(block)
        table = pj.read_json(source, options)
    except pa.ArrowException as error:
        raise DataError(
            f"{shown} has a line in bytes {offset} to {offset + len(block)} that is not a JSON "
            f"object like those before it ({error})."
        ) from error
    return table.combine_chunks().to_batches()[0]


def _csv(piece: Piece) -> Iterator[Batch]:
    import pyarrow.csv as pv

    row = counted = 0
    with open_source(piece, InputFormat.CSV) as source:
        stream: Any = pa.PythonFile(_SourceFile(source), mode="r")  # no stub of open_csv knows it
        try:
            reader = pv.open_csv(
                stream,
                pv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
                pv.ParseOptions(newlines_in_values=True),
            )
            while (batch := next(reader, None)) is not None:
                if batch.num_rows:
                    read = source.input_bytes
                    yield Batch(piece, (batch,), (row,), read - counted)
                    row, counted = row + batch.num_rows, read
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{piece.shown} cannot be read as csv after row {row} ({error}): correct the file."
            ) from error


class _SourceFile(io.RawIOBase):
    """Lets pyarrow read a source."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""
        return self._source.read(size)
