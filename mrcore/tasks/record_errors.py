"""Which record of the input is to blame for what a map task fails on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from mrcore.errors import KeyTypeError
from mrcore.model.job import InputFormat
from mrcore.model.task import Mark
from mrcore.records.batches import Batch
from mrcore.shuffle.user_code import (
    READ_ROWS,
    USER_EXCEPTIONS,
    UserCodeError,
    UserFunction,
    check_pairs,
    pairs_of,
)
from mrcore.util.texts import text_of

_SHOWN_CHARACTERS: Final = 200

Judge = Callable[[list[Any], list[Any]], object]
"""Takes keys and values that map has emitted; raises for what cannot be, as the task did."""


class RecordError(Exception):
    """The user's map failed on a record, or emitted from it what cannot be; carries the record."""

    def __init__(self, error: Exception, batch: Batch, index: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.shown = batch.piece.shown
        self.mark = Mark(batch.piece.uri, batch.offsets[index])
        self.record = record_text(batch.values[index], _SHOWN_CHARACTERS)


class PieceError(Exception):
    """Something that map emitted from a batch of records cannot be; carries where they lie."""

    def __init__(self, error: Exception, batch: Batch) -> None:
        super().__init__(str(error))
        self.error = error
        self.shown = batch.piece.shown


def record_text(value: object, characters: int) -> str:
    """Return a record as text, cut to so many characters; a RecordBatch by its shape."""
    if hasattr(value, "num_rows") and hasattr(value, "schema"):
        rows, columns = value.num_rows, ", ".join(value.schema.names)
        text = f"a batch of {rows:,} row{'s' if rows != 1 else ''} with the columns {columns}"
    else:
        text = value if isinstance(value, str) else text_of(value, repr)
    return text if len(text) <= characters else f"{text[:characters]}…"


def located(
    error: Exception,
    batch: Batch,
    index: int,
    user_map: UserFunction,
    input_format: InputFormat,
    judge: Judge,
) -> Exception:
    """Return the error with the record to blame, or the file where the record cannot be told.

    An exception of the user's is that of the record at `index`, the one read last. What is wrong
    with a pair is found out many records later, since pairs are looked at in bulk: so the batch is
    mapped once more, a record at a time.
    """
    if isinstance(error, UserCodeError) and error.function != "map":
        return error
    if isinstance(error, UserCodeError) and error.error is not None:
        return RecordError(error, batch, index) if index >= 0 else PieceError(error, batch)
    if input_format is InputFormat.ARROW:
        return RecordError(error, batch, 0)  # a RecordBatch is a batch by itself
    for at, (key, value) in enumerate(zip(batch.keys(), batch.values, strict=True)):
        try:
            _map_one(user_map, key, value, judge)
        except (UserCodeError, KeyTypeError) as found:
            return RecordError(found, batch, at)
        except USER_EXCEPTIONS:
            break  # not what it did the first time
    if isinstance(error, UserCodeError) and error.has_key:
        return error  # a value that had waited for others: its record may be anywhere before
    return PieceError(error, batch)


def _map_one(user_map: UserFunction, key: Any, value: Any, judge: Judge) -> None:
    """Map one record, some pairs at a time, and judge what comes out."""
    pairs = pairs_of(iter([user_map(key, value)]), 1)
    while some := list(islice(pairs, READ_ROWS)):
        check_pairs("map", some)
        judge([key for key, _ in some], [value for _, value in some])
