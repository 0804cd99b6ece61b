"""The map task: read a split, write a run (or, for map-only jobs, a part)."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from operator import length_hint
from pathlib import Path
from typing import Any, Final

import msgspec

from mrcore.errors import DataError, KeyTypeError
from mrcore.model import object_names
from mrcore.model.job import InputFormat
from mrcore.model.task import BadRecord, Piece, Split, TaskOutput, TaskSpec
from mrcore.plugin.functions import StepFunctions, UserFunctions
from mrcore.plugin.running import noted
from mrcore.records.readers import Batch, BrokenRecordError, open_batches
from mrcore.records.writers import PartWriter, open_part
from mrcore.shuffle.budget import Budget
from mrcore.shuffle.build import RunBuilder
from mrcore.shuffle.collect import Collector, arrow_batches
from mrcore.shuffle.combine import Combiner, combiner_of
from mrcore.shuffle.runfile import RunWriter
from mrcore.shuffle.user_code import (
    USER_EXCEPTIONS,
    PairReader,
    UserCodeError,
    UserFunction,
    pairs_of,
    read_pairs,
    stopped,
)
from mrcore.shuffle.values import plain
from mrcore.storage.base import ABSENT
from mrcore.storage.places import Reach
from mrcore.storage.registry import reach_of, storage_for
from mrcore.tasks.progress import ProgressSink
from mrcore.tasks.record_errors import Judge, located, record_text
from mrcore.util.clock import SYSTEM

_SAVED_CHARACTERS: Final = 1024
_MAX_BROKEN: Final = 1_000
"""Broken records that one task can skip: they travel with its result and into the journal."""
_LOOK_EVERY: Final = 32
"""Records between two looks at the clock."""
_TELL_SECONDS: Final = 0.25
"""Between two words about the progress within a batch, which may be minutes of a slow map."""


class Records:
    """The records of a split as the user's map is to see them, and which one it is at."""

    def __init__(self, spec: TaskSpec, split: Split, progress: ProgressSink) -> None:
        self._spec = spec
        self._split = split
        self._progress = progress
        self._skip: dict[str, dict[int, str]] = {}
        for skip in spec.skip:
            self._skip.setdefault(skip.mark.uri, {})[skip.mark.offset] = skip.cause
        self._values: Iterator[Any] = iter(())
        self._begun = 0
        """Number of records of this batch that were read, or are in `_values`."""
        self._told_at = SYSTEM.monotonic()
        self.batch: Batch | None = None
        self.records = 0
        self.size_bytes = 0
        self.bad: list[BadRecord] = []

    def batches(self) -> Iterator[tuple[Iterable[Any], Iterator[Any]]]:
        """Yield keys and values of each batch, to be read in step."""
        for piece in self._split.pieces:
            on_broken = partial(self._take_broken, piece)
            for found in open_batches(piece, self._spec.job.input_format, on_broken):
                batch = self._without_bad(found) if piece.uri in self._skip else found
                self.batch = batch
                self._values, self._begun = iter(()), 0
                values = chain.from_iterable(self._slices(batch))
                yield (
                    batch.keys(),
                    self._marked(batch, values) if self._spec.mark_records else values,
                )
                self.records += len(batch.values)
                self.size_bytes += batch.size_bytes
                self._tell(self.records, self.size_bytes)

    @property
    def index(self) -> int:
        """Return the number, within the batch, of the record read last."""
        return self._begun - length_hint(self._values) - 1

    def _slices(self, batch: Batch) -> Iterator[Iterator[Any]]:
        """Yield the values some at a time, and tell of the progress in between."""
        values, count = batch.values, len(batch.values)
        for start in range(0, count, _LOOK_EVERY):
            if SYSTEM.monotonic() - self._told_at > _TELL_SECONDS:
                size_bytes = self.size_bytes + batch.size_bytes * start // count
                self._tell(self.records + start, size_bytes)
            some = values[start : start + _LOOK_EVERY]
            self._begun = start + len(some)
            self._values = iter(some)
            yield self._values

    def _tell(self, records: int, size_bytes: int) -> None:
        fraction = min(1.0, size_bytes / max(1, self._split.size_bytes))
        self._progress.update(fraction, records, size_bytes)
        self._told_at = SYSTEM.monotonic()

    def _marked(self, batch: Batch, values: Iterator[Any]) -> Iterator[Any]:
        mark, uri = self._progress.mark, batch.piece.uri
        for offset, value in zip(batch.offsets, values, strict=True):
            mark(uri, offset)
            yield value

    def _take_broken(self, piece: Piece, error: BrokenRecordError) -> None:
        """Skip a line that is not of its format, if the job may: another attempt would not help."""
        if len(self.bad) >= self._spec.job.max_bad_records:
            raise error
        if len(self.bad) >= _MAX_BROKEN:
            raise DataError(
                f"{piece.shown} has too many broken records, or the files before it in its split: "
                f"a map task can skip {_MAX_BROKEN:,}. Correct the input."
            ) from error
        record = record_text(error.record, _SAVED_CHARACTERS)
        self.bad.append(BadRecord(piece.shown, error.offset, str(error), record))

    def _without_bad(self, batch: Batch) -> Batch:
        bad = self._skip[batch.piece.uri]
        offsets = list(batch.offsets)
        if bad.keys().isdisjoint(offsets):
            return batch
        keep = [offset not in bad for offset in offsets]
        for offset, value, kept in zip(offsets, batch.values, keep, strict=True):
            if not kept:
                self.bad.append(
                    BadRecord(
                        batch.piece.shown,
                        offset,
                        bad[offset] or "two attempts failed on this record",
                        record_text(value, _SAVED_CHARACTERS),
                    )
                )
        values = [value for value, kept in zip(batch.values, keep, strict=True) if kept]
        left = [offset for offset, kept in zip(offsets, keep, strict=True) if kept]
        return type(batch)(batch.piece, values, left, batch.size_bytes)


def run_map(
    spec: TaskSpec,
    functions: UserFunctions,
    scratch: Path,
    progress: ProgressSink,
) -> TaskOutput:
    """Run one map attempt.

    Raises RecordError and UserCodeError for what the user's code does, KeyTypeError, DataError and
    StorageErrors.
    """
    work = spec.work
    assert isinstance(work.read, Split)
    records = Records(spec, work.read, progress)
    (step,) = functions.steps
    if work.partitions:
        output = _map_to_run(spec, step, scratch, records, work.partitions)
    else:
        output = _map_to_part(spec, step, records)
    return msgspec.structs.replace(
        output,
        records_in=records.records,
        bytes_in=records.size_bytes,
        bad_records=tuple(records.bad),
    )


def _map_to_run(
    spec: TaskSpec, step: StepFunctions, scratch: Path, records: Records, partitions: int
) -> TaskOutput:
    job = spec.job
    budget = Budget.of(spec.memory_bytes)
    combiner = combiner_of(step.get("combine") if job.combine else None)
    builder = RunBuilder(
        partitions,
        budget,
        scratch / "spills",
        total_order=job.total_order,
        partition=step.get("partition"),
        combiner=combiner,
    )
    collector = Collector(builder, budget, combiner=combiner, sort_key=step.get("sort_key"))
    try:
        _collect(spec, step["map"], records, collector, combiner)
        output = _write_run(spec, builder, partitions)
    finally:
        builder.close()
    return msgspec.structs.replace(
        output, number_kinds=collector.number_kinds, records_out=collector.pairs
    )


def _collect(
    spec: TaskSpec,
    user_map: UserFunction,
    records: Records,
    collector: Collector,
    combiner: Combiner | None,
) -> None:
    input_format = spec.job.input_format
    for keys, values in records.batches():
        batch = records.batch
        assert batch is not None
        try:
            if input_format is InputFormat.ARROW:
                for table in noted("map", _tables(user_map, keys, values, len(batch.values))):
                    collector.add_arrow(table)
            else:
                collector.start_batch(len(batch.values), batch.size_bytes)
                collector.add(_pairs(user_map, keys, values, len(batch.values)))
        except (UserCodeError, KeyTypeError) as error:
            judge = _judge(collector, combiner)
            raise located(error, batch, records.index, user_map, input_format, judge) from error
    collector.finish()


def _judge(collector: Collector, combiner: Combiner | None) -> Judge:
    """Return what raises for the pairs that this collector refuses."""

    def judge(keys: list[Any], values: list[Any]) -> None:
        counted = combiner is not None and combiner.counts_values
        collector.columns(collector.types.check(keys), [1] * len(values) if counted else values)

    return judge


def _pairs(
    user_map: UserFunction, keys: Iterable[Any], values: Iterator[Any], count: int
) -> Iterator[Any]:
    """Return what the user's map emits from a batch of `count` records, lazily."""
    results = map(user_map, keys, values)
    if inspect.isgeneratorfunction(user_map):
        return chain.from_iterable(results)
    return pairs_of(results, count)


def _tables(
    user_map: UserFunction, keys: Iterable[Any], values: Iterator[Any], count: int
) -> Iterator[Any]:
    """Yield the tables that the user's map makes of `count` RecordBatches."""
    results = map(user_map, keys, values)
    try:
        for result in results:
            count -= 1
            if result is None:
                continue
            if hasattr(result, "schema"):
                yield result
            elif isinstance(result, Iterator | list | tuple):
                yield from result
            else:
                yield result  # refused where it is looked at
    except GeneratorExit:
        raise  # nobody wants the rest
    except USER_EXCEPTIONS as error:
        raise UserCodeError.raised("map", error) from error
    if count:
        raise stopped("map")


def _write_run(spec: TaskSpec, builder: RunBuilder, partitions: int) -> TaskOutput:
    job = spec.job
    sections = (0,) * partitions
    if builder.empty:
        return TaskOutput(section_bytes=() if job.total_order else sections)
    uri = object_names.run_uri(job, spec.attempt)
    with storage_for(uri).open_write(uri, expect=ABSENT) as sink:
        writer = RunWriter(sink, codec_for(uri), builder.block_bytes, first_keys=job.total_order)
        builder.write(writer)
        digest = writer.finish()
        if not writer.rows:  # the combiner has dropped everything
            return TaskOutput(section_bytes=() if job.total_order else sections)
        info = sink.commit()
    return TaskOutput(
        object=info,
        digest=digest,
        section_bytes=()
        if job.total_order
        else tuple(section.length_bytes for section in writer.sections),
        blocks=tuple(writer.blocks),
        bytes_out=info.size_bytes,
    )


def codec_for(uri: str) -> str:
    """Return how runs are compressed: by LZ4 on the local disk, by zstd where bytes travel."""
    return "zstd" if reach_of(uri) is Reach.EVERYWHERE else "lz4"


def _map_to_part(spec: TaskSpec, step: StepFunctions, records: Records) -> TaskOutput:
    job, user_map = spec.job, step["map"]
    uri = object_names.staged_part_uri(job, spec.attempt)
    with storage_for(uri).open_write(uri, expect=ABSENT) as sink:
        part = open_part(sink, job.output_format, job.compression)
        for keys, values in records.batches():
            batch = records.batch
            assert batch is not None
            try:
                if job.input_format is InputFormat.ARROW:
                    _write_tables(
                        noted("map", _tables(user_map, keys, values, len(batch.values))), part
                    )
                else:
                    _write_pairs(_pairs(user_map, keys, values, len(batch.values)), part)
            except UserCodeError as error:
                index, kind = records.index, job.input_format
                raise located(error, batch, index, user_map, kind, _any_pair) from error
        counts = part.close()
        info = sink.commit()
    if info.crc32c is None:
        info = msgspec.structs.replace(info, crc32c=counts.crc32c)
    return TaskOutput(
        object=info,
        digest=counts.schema_digest,
        records_out=counts.records,
        bytes_out=counts.size_bytes,
    )


def _any_pair(keys: list[Any], values: list[Any]) -> None:
    """Refuse nothing: without a shuffle keys need no order."""


def _write_pairs(pairs: Iterator[Any], part: PartWriter) -> None:
    reader = PairReader("map", part.keep, keep_keys=True)
    while (pairs_read := read_pairs(reader, pairs))[0]:
        part.write(*pairs_read)


def _write_tables(tables: Iterator[Any], part: PartWriter) -> None:
    for table in tables:
        for batch in arrow_batches("map", table):
            part.write_columns(plain(batch.column("key")), plain(batch.column("value")))
