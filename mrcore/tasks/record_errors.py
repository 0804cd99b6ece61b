"""Search for the input record on which a map task fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mrcore.errors import InternalError, KeyTypeError
from mrcore.model.formats import record_phrase
from mrcore.model.task import Mark
from mrcore.records.batches import Batch
from mrcore.shuffle.keys import shown
from mrcore.shuffle.user_code import USER_EXCEPTIONS, UserCodeError, UserFunction
from mrcore.tasks.emit import Emitter, map_one
from mrcore.util.texts import text_of

_SHOWN_CHARACTERS: Final = 200


class RecordError(InternalError):
    """The user's map failed on a record, or emitted from it what cannot be; carries the record."""

    def __init__(self, error: Exception, batch: Batch, index: int) -> None:
        super().__init__(str(error))
        self.error = error
        piece = batch.piece
        self.place = record_phrase(piece.format, batch.offsets[index], piece.shown)
        self.mark = Mark(batch.piece.uri, batch.offsets[index])
        self.record = record_text(batch.values[index], _SHOWN_CHARACTERS)

    @property
    def sentence(self) -> str:
        """Return what is wrong, and with which record."""
        record = f": {self.record}" if self.record.strip() else ", which is blank"
        place = f"on {self.place}{record}"
        problem = problem_of(self.error)
        raised = isinstance(self.error, UserCodeError) and self.error.error is not None
        return f"{problem}, {place}" if raised else f"{problem} ({place})"


class PieceError(InternalError):
    """Something that map emitted from a batch of records cannot be; carries where they lie."""

    def __init__(self, error: Exception, batch: Batch) -> None:
        super().__init__(str(error))
        self.error = error
        self.shown = batch.piece.shown


def problem_of(error: Exception) -> str:
    """Return what is wrong, without the place."""
    return error.problem if isinstance(error, UserCodeError) else str(error)


def key_sentence(error: Exception, key: object, name: str) -> str:
    """Return what is wrong with what a function of this name does with a key."""
    if not isinstance(error, UserCodeError):
        return f"{error} (emitted by {name}, for the key {shown(key)})"
    found = error.at_key(key)
    return f"{found.problem}, for the key {shown(key)}" if found.error else found.problem


def record_text(value: object, characters: int) -> str:
    """Return a record as text of at most `characters`; a RecordBatch by its shape."""
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
    columnar: bool,
    maps: Sequence[str],
    then: Emitter,
) -> Exception:
    """Return the error with the record to blame, or the file where the record is unknown.

    An exception of the user's is that of the record at `index`, the one read last. What is wrong
    with a pair, or raises in a later map, is found out many records later, since pairs are looked
    at in bulk: so the batch is mapped once more, a record at a time. `maps` are the names of
    `user_map` and of the maps after it, and `then` judges what `user_map` emits.
    """
    name = maps[0]
    if isinstance(error, UserCodeError) and error.function not in maps:
        return error
    if isinstance(error, UserCodeError) and error.function == name and error.error is not None:
        return RecordError(error, batch, index) if index >= 0 else PieceError(error, batch)
    if columnar:
        return RecordError(error, batch, 0)  # a RecordBatch is a batch by itself
    for at, (key, value) in enumerate(zip(batch.keys(), batch.values, strict=True)):
        try:
            map_one(user_map, name, key, value, then)
        except (UserCodeError, KeyTypeError) as found:
            return RecordError(found, batch, at)
        except USER_EXCEPTIONS:
            break  # not what it did the first time
    if isinstance(error, UserCodeError) and error.has_key:
        return error  # a value that had waited for others: its record may be anywhere before
    return PieceError(error, batch)
