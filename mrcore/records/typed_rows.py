"""Types of the columns of text: what a job states of its csv and tsv inputs."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from mrcore.errors import DataError
from mrcore.model.columns import Columns
from mrcore.records.batches import Batch, BrokenRecordError, OnBroken
from mrcore.records.outputs import shortened

if TYPE_CHECKING:
    import pyarrow as pa

_TRUE: Final = frozenset(("true", "1", "yes"))
_FALSE: Final = frozenset(("false", "0", "no"))


def _bool(text: str) -> bool:
    lower = text.lower()
    if lower in _TRUE:
        return True
    if lower in _FALSE:
        return False
    raise ValueError(text)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


_PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": _bool,
    "bytes": _bytes,
    "date": datetime.date.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
    "decimal": Decimal,
}
_TEXTS: Final = frozenset(("str", "bytes"))
"""Types for which an empty cell is an empty value; for the others it is None."""


def typed(batch: Batch, columns: Columns, on_broken: OnBroken) -> Batch | None:
    """Return a batch of rows with the values of these columns converted; None where no row is left.

    `on_broken` gets each row with a cell that is not of its column's type. Raises DataError for a
    file that lacks one of the columns.
    """
    rows: Sequence[Any] = batch.values
    first = rows[0]
    if not isinstance(first, dict):
        return Batch(
            batch.piece, (_typed_table(batch, first, columns),), batch.offsets, batch.size_bytes
        )
    _check_names(batch, first, columns)
    parsers = [(name, _PARSERS[kind], kind) for name, kind in columns]
    values: list[Any] = []
    offsets: list[int] = []
    for offset, row in zip(batch.offsets, rows, strict=True):
        try:
            for name, parse, kind in parsers:
                text = row[name]
                row[name] = parse(text) if text or kind in _TEXTS else None
        except (ValueError, InvalidOperation):
            message = (
                f"{batch.piece.shown} has {shortened(text)} in the column {name!r} of the row at "
                f"byte {offset}, which is not of the type {kind}. Correct the cell, or state str."
            )
            on_broken(BrokenRecordError(message, offset, ",".join(map(str, row.values()))))
        else:
            values.append(row)
            offsets.append(offset)
    return Batch(batch.piece, values, offsets, batch.size_bytes) if values else None


def _check_names(batch: Batch, names: Any, columns: Columns) -> None:
    for name, _ in columns:
        if name not in names:
            raise DataError(
                f"{batch.piece.shown} lacks the column {name!r}, which the job states. Name the "
                "columns as the first row of the file does."
            )


def _typed_table(batch: Batch, table: pa.RecordBatch, columns: Columns) -> pa.RecordBatch:
    """Return columns of strings as columns of other types; raise DataError."""
    import pyarrow as pa
    import pyarrow.compute as pc

    types: dict[str, pa.DataType] = {
        "int": pa.int64(),
        "float": pa.float64(),
        "str": pa.string(),
        "bool": pa.bool_(),
        "bytes": pa.binary(),
        "date": pa.date32(),
        "datetime": pa.timestamp("us"),
        "decimal": pa.decimal128(38, 9),
    }
    choose: Any = pc  # whose stubs know no scalars of Python
    _check_names(batch, table.schema.names, columns)
    fields = dict(zip(table.schema.names, table.columns, strict=True))
    for name, kind in columns:
        texts: Any = fields[name]
        if kind not in _TEXTS:
            texts = choose.if_else(choose.equal(texts, ""), None, texts)
        try:
            fields[name] = texts.cast(types[kind])
        except pa.ArrowException as error:
            raise DataError(
                f"{batch.piece.shown} has a cell in the column {name!r} that is not of the type "
                f"{kind} ({error}). Correct it, or state str."
            ) from error
    return pa.RecordBatch.from_arrays(list(fields.values()), names=list(fields))
