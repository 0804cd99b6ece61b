"""Input as record batches: lines of text, csv, and (in `arrow_json`) lines of JSON.

Parquet is in `parquet_reader`. Columns of csv are strings, as in the format `csv`: a type that was
guessed from some rows would turn 00501 into 501, and would change from file to file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from mrcore.errors import DataError
from mrcore.model.task import Piece
from mrcore.records.batches import ARROW_BLOCK_BYTES, Batch, OnBroken, piece_blocks
from mrcore.records.csv_reader import CsvRows
from mrcore.records.lines import without_mark
from mrcore.records.sources import open_source

LINES_BLOCK_BYTES = 2 << 20
"""Lines are counted and filtered fastest in blocks of this size; rows of more columns take more."""
LINE_SCHEMA = pa.schema([("line", pa.string())])


def line_batches(piece: Piece, on_broken: OnBroken) -> Iterator[Batch]:
    """Yield batches of one pyarrow.RecordBatch each, with the lines of a text file as a column.

    Raises DataError for a line that is not UTF-8.
    """
    del on_broken  # no line is broken
    for offset, block, size_bytes in piece_blocks(piece, LINES_BLOCK_BYTES):
        batch = _lines(block, offset, piece.shown)
        if batch.num_rows:
            yield Batch(piece, (batch,), (offset,), size_bytes)


def _lines(block: bytes, offset: int, shown: str) -> pa.RecordBatch:
    """Return the lines of a block without their ends."""
    import pyarrow.compute as pc

    text = text_array(block, offset, shown)
    if without_mark(block, offset) is not block:
        block = without_mark(block, offset)
        text = _string(block)
    if b"\r" in block and b"\r\n" in block:
        block = block.replace(b"\r\n", b"\n")
        text = _string(block)
    split: Any = pc.split_pattern
    lines = split(text, "\n").values
    if block.endswith(b"\n") or not block:
        lines = lines[:-1]
    return pa.RecordBatch.from_arrays([lines], schema=LINE_SCHEMA)


def text_array(block: bytes, offset: int, shown: str) -> Any:
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
        f"{shown} is not UTF-8 at byte {offset}, so Arrow cannot hold it as text. Convert the "
        "file, or use --input-format text."
    )


def csv_batches(piece: Piece, on_broken: OnBroken) -> Iterator[Batch]:
    """Yield the rows of a csv file as columns of strings; `on_broken` gets broken rows.

    Offsets are the number of a batch's first row.
    """
    return _row_batches(piece, on_broken, ",")


def tsv_batches(piece: Piece, on_broken: OnBroken) -> Iterator[Batch]:
    """Yield the rows of a tsv file; otherwise as `csv_batches`."""
    return _row_batches(piece, on_broken, "\t")


def _row_batches(piece: Piece, on_broken: OnBroken, delimiter: str) -> Iterator[Batch]:
    with open_source(piece) as source:
        rows = CsvRows(source, piece.shown, ARROW_BLOCK_BYTES, on_broken, delimiter)
        schema = pa.schema([(_column_name(name, piece.shown), pa.string()) for name in rows.names])
        row = counted = 0
        while rows.load():
            text_array(rows.data, rows.offset, piece.shown)
            batch = None if rows.is_partial else _plain_rows(rows.data, schema, delimiter)
            if batch is None:
                batch = _quoted_rows(rows, schema)
            else:
                rows.skip()
            if batch.num_rows:
                yield Batch(piece, (batch,), (row,), source.input_bytes - counted)
                row, counted = row + batch.num_rows, source.input_bytes


def _column_name(name: str, shown: str) -> str:
    """Return the name of a column; raise DataError for one that is not UTF-8."""
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{shown} has a column {name!r} that is not UTF-8, so Arrow cannot hold its name. "
                "Convert the file, or use --input-format csv."
            ) from None
    return name


def _plain_rows(block: bytes, schema: pa.Schema, delimiter: str) -> pa.RecordBatch | None:
    """Return the rows of lines without quotes; None where the slower reader has to look."""
    import pyarrow.csv as pv

    if b'"' in block or block.count(b"\r") != block.count(b"\r\n"):
        return None
    source: Any = pa.BufferReader(block)  # no stub of read_csv knows it
    try:
        table = pv.read_csv(
            source,
            pv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=schema.names),
            pv.ParseOptions(delimiter=delimiter, quote_char=False),
            pv.ConvertOptions(column_types=schema, strings_can_be_null=False),
        )
    except pa.ArrowException:
        return None  # a row of another length, or only blank lines
    return table.combine_chunks().to_batches()[0] if table.num_rows else None


def _quoted_rows(rows: CsvRows, schema: pa.Schema) -> pa.RecordBatch:
    """Return the rows that Python's own reader finds."""
    found = [row for _, row in rows.parse()]
    columns = zip(*found, strict=True) if found else [()] * len(schema)
    arrays = [pa.array(column, pa.string()) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
