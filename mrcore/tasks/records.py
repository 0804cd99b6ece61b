"""The records of a split, as the first map of a task reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any, Final

from mrcore.errors import DataError
from mrcore.model.formats import file_format
from mrcore.model.skipping import MAX_SKIPPED_IN_TASK, most_skipped
from mrcore.model.task import BadRecord, Piece, Skip, Split, TaskSpec
from mrcore.records.batches import OnBroken
from mrcore.records.readers import Batch, BrokenRecordError, open_batches
from mrcore.records.typed_rows import typed
from mrcore.tasks.position import Position
from mrcore.tasks.progress import ProgressSink
from mrcore.tasks.record_errors import RecordError, record_text
from mrcore.tasks.skipped import SAVED_CHARACTERS, Guard
from mrcore.util.clock import SYSTEM

_LOOK_EVERY: Final = 32
"""Records between two looks at the clock."""
_REPORT_SECONDS: Final = 0.25
"""Pause between two progress reports within a batch, which may take a slow map minutes."""


class Records:
    """The records of a split as the user's map sees them, and the number of the one at work."""

    def __init__(self, split: Split, guard: Guard) -> None:
        spec = guard.spec
        self._spec: TaskSpec = spec
        self._split = split
        self._progress: ProgressSink = guard.progress
        self._skipped = guard.skipped
        self._types = spec.job.input_columns_of(split.group)
        self._skip: dict[str, dict[int, Skip]] = {}
        for skip in spec.skip:
            self._skip.setdefault(skip.mark.uri, {})[skip.mark.offset] = skip
        self._position = Position(())
        self._start = 0
        """Number, within the batch, of the first record in `_position`."""
        self._reported_at = SYSTEM.monotonic()
        self.batch: Batch | None = None
        self.records = 0
        self.size_bytes = 0

    def batches(self) -> Iterator[tuple[Iterable[Any], Iterator[Any]]]:
        """Yield keys and values of each batch, to be read in step."""
        for piece in self._split.pieces:
            on_broken = partial(self._take_broken, piece)
            for found in self._open(piece, on_broken):
                batch = self._without_bad(found) if piece.uri in self._skip else found
                self.batch = batch
                self._position, self._start = Position(()), 0
                values = chain.from_iterable(self._slices(batch))
                yield (
                    batch.keys(),
                    self._marked(batch, values) if self._spec.mark_records else values,
                )
                self.records += len(batch.values)
                self.size_bytes += batch.size_bytes
                self._report(self.records, self.size_bytes)

    def _open(self, piece: Piece, on_broken: OnBroken) -> Iterator[Batch]:
        """Yield the batches of a piece, with the types that the job states for its columns."""
        if not (self._types and file_format(piece.format).has_text_columns):
            yield from open_batches(piece, on_broken)
            return
        for batch in open_batches(piece, on_broken):
            found = typed(batch, self._types, on_broken)
            if found is not None:
                yield found

    @property
    def index(self) -> int:
        """Return the number, within the batch, of the record read last."""
        return self._start + self._position.index

    def _slices(self, batch: Batch) -> Iterator[Iterator[Any]]:
        """Yield the values some at a time, and report the progress in between."""
        values, count = batch.values, len(batch.values)
        for start in range(0, count, _LOOK_EVERY):
            if SYSTEM.monotonic() - self._reported_at > _REPORT_SECONDS:
                size_bytes = self.size_bytes + batch.size_bytes * start // count
                self._report(self.records + start, size_bytes)
            some = values[start : start + _LOOK_EVERY]
            self._position, self._start = Position(some), start
            yield self._position.items

    def _report(self, records: int, size_bytes: int) -> None:
        fraction = min(1.0, size_bytes / max(1, self._split.size_bytes))
        self._progress.update(fraction, records, size_bytes)
        self._reported_at = SYSTEM.monotonic()

    def _marked(self, batch: Batch, values: Iterator[Any]) -> Iterator[Any]:
        mark, uri = self._progress.mark, batch.piece.uri
        for offset, value in zip(batch.offsets, values, strict=True):
            mark(uri, offset)
            yield value

    def _take_broken(self, piece: Piece, error: BrokenRecordError) -> None:
        """Skip a line that is not of its format, if the job may: another attempt would not help."""
        if len(self._skipped) >= most_skipped(self._spec.job.max_bad_records):
            raise error
        if len(self._skipped) >= MAX_SKIPPED_IN_TASK:
            raise DataError(
                f"{piece.shown} has too many broken records, or the files before it in its split: "
                f"a map task can skip {MAX_SKIPPED_IN_TASK:,}. Correct the input."
            ) from error
        record = record_text(error.record, SAVED_CHARACTERS)
        self._skipped.add(BadRecord(piece.shown, error.offset, str(error), record))

    def give_up(self, error: Exception) -> None:
        """Skip the record read last, which map cannot take.

        Raises TooManyBadError where no more may be skipped. More attempts would not help.
        """
        batch = self.batch
        assert batch is not None
        at = self.index
        self._skipped.give_up(
            batch.piece.shown,
            batch.offsets[at],
            record_text(batch.values[at], SAVED_CHARACTERS),
            sentence=RecordError(error, batch, at).sentence,
            error=error,
        )
        self.records -= 1

    def _bad_record(self, batch: Batch, index: int, skip: Skip) -> BadRecord:
        return BadRecord(
            batch.piece.shown,
            batch.offsets[index],
            skip.cause or "two attempts failed on this record",
            record_text(batch.values[index], SAVED_CHARACTERS),
            skip.traceback,
        )

    def _without_bad(self, batch: Batch) -> Batch:
        bad = self._skip[batch.piece.uri]
        offsets = list(batch.offsets)
        if bad.keys().isdisjoint(offsets):
            return batch
        keep = [offset not in bad for offset in offsets]
        for index, kept in enumerate(keep):
            if not kept:
                self._skipped.add(self._bad_record(batch, index, bad[offsets[index]]))
        values = [value for value, kept in zip(batch.values, keep, strict=True) if kept]
        left = [offset for offset, kept in zip(offsets, keep, strict=True) if kept]
        return type(batch)(batch.piece, values, left, batch.size_bytes)
