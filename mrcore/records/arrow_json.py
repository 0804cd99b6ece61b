"""Lines of JSON as record batches, all of a file by one schema.

The schema is that of the file's first lines, whoever reads which piece: a type that was inferred
batch by batch would follow the cuts, and so the number of workers. Strings stay strings, also where
they look like times. Arrow's own reader is given objects only, and a type for each field: left to
infer types it misreads lists that begin with null, and dies of a line that is null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.json as pj

from mrcore.errors import DataError
from mrcore.model.job import Codec
from mrcore.model.task import Piece
from mrcore.records.arrow_reader import text_array
from mrcore.records.batches import ARROW_BLOCK_BYTES, Batch, OnBroken, piece_blocks
from mrcore.records.jsonlines import parse_lines
from mrcore.records.lines import line_starts, without_mark


class _Object(msgspec.Struct):
    """Any JSON object: its fields are checked, and not kept."""


_check_objects = msgspec.json.Decoder(_Object).decode_lines
_ADVICE = "use --input-format jsonl, where each line has its own fields and types"


def json_batches(piece: Piece, on_broken: OnBroken) -> Iterator[Batch]:
    """Yield batches of one pyarrow.RecordBatch each; offsets are bytes.

    Raises DataError for a line that is not a JSON object, or does not fit the schema.
    """
    del on_broken  # lines share a schema, so none is skipped
    head_bytes = min(ARROW_BLOCK_BYTES, piece.size_bytes)
    schema = None
    if piece.start or (piece.end < head_bytes and piece.codec is Codec.NONE):
        schema = _schema_of_head(msgspec.structs.replace(piece, start=0, end=head_bytes))
    for offset, block, size_bytes in _blocks(piece):
        if schema is None:  # the first block of this piece is that of any piece
            schema = _schema_of(_first_lines(block), offset, piece.shown)
        batch = _batch(block, offset, piece.shown, schema)
        yield Batch(piece, (batch,), (offset,), size_bytes)


@lru_cache(maxsize=16)
def _schema_of_head(head: Piece) -> pa.Schema | None:
    """Return the schema of a file by its first block; a process reads many pieces of a file."""
    for offset, block, _ in _blocks(head):
        return _schema_of(_first_lines(block), offset, head.shown)
    return None


def _first_lines(block: bytes) -> bytes:
    """Return the lines of a first block that it has however the file is cut.

    A first line that is longer than a block is followed by others only where the piece goes on.
    """
    first = block.find(b"\n") + 1
    return block[:first] if first > ARROW_BLOCK_BYTES else block


def _blocks(piece: Piece) -> Iterator[tuple[int, bytes, int]]:
    """Yield what `piece_blocks` yields, without blank blocks, after a check of the text."""
    for offset, block, size_bytes in piece_blocks(piece, ARROW_BLOCK_BYTES):
        text_array(block, offset, piece.shown)
        if without_mark(block, offset).strip():
            yield offset, block, size_bytes


def _schema_of(block: bytes, offset: int, shown: str) -> pa.Schema:
    """Return the schema of the objects in a block; what is always null is a string."""
    objects: Any = _objects(block, offset, shown)
    try:
        inferred: Any = pa.array(objects).type
        return pa.schema([_without_null(field) for field in inferred])
    except (pa.ArrowException, OverflowError, ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{shown} has values in its first lines that no columns can hold ({error}): {_ADVICE}."
        ) from error


def _without_null(field: pa.Field[Any]) -> pa.Field[Any]:
    """Return a field whose type takes strings where only nulls have been seen."""
    kind: Any = field.type
    if pa.types.is_null(kind):
        kind = pa.string()
    elif pa.types.is_list(kind):
        kind = pa.list_(_without_null(kind.value_field))
    elif pa.types.is_struct(kind):
        kind = pa.struct([_without_null(inner) for inner in kind])
    return field.with_type(kind)


def _batch(block: bytes, offset: int, shown: str, schema: pa.Schema) -> pa.RecordBatch:
    """Return the columns of a block of JSON objects."""
    content = without_mark(block, offset)
    lines = content.count(b"\n") + (not content.endswith(b"\n"))
    try:
        objects = len(_check_objects(content))
    except (ValueError, RecursionError):
        objects = -1
    if objects != lines:  # some line is blank, not an object, or as only Python writes it
        lines = len(_objects(block, offset, shown))
    try:
        batch = _read(content, schema)
        batch.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise _misfit(block, offset, shown, schema, error) from error
    if batch.num_rows != lines:
        raise DataError(
            f"{shown} has a line in bytes {offset} to {offset + len(block)} that holds more than "
            "one JSON object. Write one a line."
        )
    return batch


def _read(content: bytes, schema: pa.Schema) -> pa.RecordBatch:
    source: Any = pa.BufferReader(content)
    table = pj.read_json(
        source,
        pj.ReadOptions(use_threads=False, block_size=len(content) + 1),
        pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
    )
    return table.combine_chunks().to_batches()[0]


def _objects(block: bytes, offset: int, shown: str) -> list[object]:
    """Return the object of each line that is not blank; raise DataError for any other value."""
    values, starts = parse_lines(block, offset, shown)
    for at, value in enumerate(values):
        if not isinstance(value, dict):
            line = (starts() if callable(starts) else starts)[at]
            raise DataError(
                f"{shown} has a line at byte {line} that is not a JSON object, so it has no "
                "columns. Correct it, or use --input-format jsonl."
            )
    return values


def _misfit(
    block: bytes, offset: int, shown: str, schema: pa.Schema, error: Exception
) -> DataError:
    """Return the error for the first line that does not fit the schema by itself."""
    lines = block.split(b"\n")
    for start, line in zip(line_starts(block, offset), lines, strict=False):
        content = without_mark(line, start)
        if not content.strip():
            continue
        unknown = [name for name in json.loads(content) if name not in schema.names]
        try:
            _read(content, schema)
        except (pa.ArrowException, OSError) as found:
            reason = f"the field {unknown[0]!r} is new" if unknown else str(found)
            return DataError(
                f"{shown} has a line at byte {start} that does not fit the columns of the file's "
                f"first lines ({reason}): {_ADVICE}."
            )
    return DataError(
        f"{shown} cannot be held as columns from byte {offset} on ({error}): {_ADVICE}."
    )
