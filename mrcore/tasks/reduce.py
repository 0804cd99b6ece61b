"""The reduce task: merge one partition of every run, group, call `reduce`, write a part."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import chain
from operator import length_hint
from pathlib import Path
from typing import Any, Final

import msgspec

from mrcore.model import object_names
from mrcore.model.task import RunInput, TaskOutput, TaskSpec
from mrcore.plugin.functions import UserFunctions
from mrcore.plugin.running import running
from mrcore.records.writers import PartWriter, open_part
from mrcore.shuffle.arrow import pa
from mrcore.shuffle.blocks import MAX_BLOCK_BYTES
from mrcore.shuffle.budget import Budget
from mrcore.shuffle.build import common_layout_of, reduce_spills
from mrcore.shuffle.columns import Columns, KeyKind, RowSource
from mrcore.shuffle.combine import aggregate_groups, reduce_after
from mrcore.shuffle.groups import Groups, GroupStream, LongGroup, Values
from mrcore.shuffle.keys import keys_to_python
from mrcore.shuffle.merge import SortedChunk, merge, sort_in_memory
from mrcore.shuffle.ranges import trim
from mrcore.shuffle.reading import read_slices
from mrcore.shuffle.spill import SpillFolder
from mrcore.shuffle.user_code import (
    USER_EXCEPTIONS,
    PairReader,
    UserCodeError,
    UserFunction,
    call_keeping,
    is_iterator_type,
)
from mrcore.shuffle.values import ValueKind, to_python
from mrcore.storage.base import ABSENT
from mrcore.storage.registry import storage_for
from mrcore.tasks.progress import ProgressSink

_CALLS: Final = 1024
"""Groups whose results are alive at once."""

_READ_SHARE: Final = 0.5
"""Of the progress of a reduce task."""


def run_reduce(
    spec: TaskSpec,
    functions: UserFunctions,
    scratch: Path,
    progress: ProgressSink,
) -> TaskOutput:
    """Run one reduce attempt.

    Raises UserCodeError for what the user's code does, LostRunError for runs that are gone or
    damaged, and StorageErrors.
    """
    work = spec.work
    assert isinstance(work.read, RunInput)
    job = spec.job
    (step,) = functions.steps
    reduce = reduce_after(step.get("reduce"), step.get("combine") if job.combine else None)
    uri = object_names.staged_part_uri(job, spec.attempt)
    source = Source(work.read, Budget.of(spec.memory_bytes), scratch / "spills", progress)
    try:
        with storage_for(uri).open_write(uri, expect=ABSENT) as sink:
            part = open_part(sink, job.output_format, job.compression)
            chunks = source.chunks()
            if reduce is None:
                for chunk in chunks:
                    write_columns(part, chunk.columns)
            else:
                Reducer(reduce, part).run(GroupStream(chunks))
            counts = part.close()
            info = sink.commit()
    finally:
        source.close()
    if info.crc32c is None:
        info = msgspec.structs.replace(info, crc32c=counts.crc32c)
    return TaskOutput(
        object=info,
        digest=counts.schema_digest,
        records_in=source.records,
        bytes_in=source.size_bytes,
        records_out=counts.records,
        bytes_out=counts.size_bytes,
    )


class Source:
    """The rows of a partition in sorted order, from the slices of all runs."""

    def __init__(
        self, runs: RunInput, budget: Budget, folder: Path, progress: ProgressSink
    ) -> None:
        self._runs = runs
        self._budget = budget
        self._folder = SpillFolder(folder)
        self._progress = progress
        self._written = 0
        self.records = 0
        self.size_bytes = sum(slice_.length_bytes for slice_ in runs.slices)

    def chunks(self) -> Iterator[SortedChunk]:
        """Yield all rows: sorted in memory if they fit, else by way of the local disk."""
        spills = []
        held: list[Columns] = []
        held_bytes = 0
        for batch in self._batches():
            held.append(batch)
            held_bytes += batch.sorting_bytes
            if held_bytes >= self._budget.sort_bytes:
                spills.append(self._folder.write([_sorted(held)], MAX_BLOCK_BYTES))
                held_bytes = 0
        if not spills:
            if held:
                yield from self._counted(sort_in_memory(_joined(held)))
            return
        if held:
            spills.append(self._folder.write([_sorted(held)], MAX_BLOCK_BYTES))
        spills = reduce_spills(
            spills, self._folder, self._budget, 1, lambda merged: (c.columns for c in merged)
        )
        yield from self._counted(
            merge([spill.section(0) for spill in spills], common_layout_of(spills))
        )

    def close(self) -> None:
        """Remove what lies on the local disk."""
        self._folder.close()

    def _batches(self) -> Iterator[Columns]:
        """Yield the blocks of the slices in order, trimmed to the task's range of keys."""
        keys = self._runs.keys
        ahead_bytes = min(64 << 20, self._budget.merge_bytes // 2)
        read_bytes = 0
        for block in read_slices(self._runs.slices, ahead_bytes):
            batch = trim(block, keys)
            self.records += len(batch)
            read_bytes += batch.size_bytes
            share = min(1.0, read_bytes / max(1, 4 * self.size_bytes))
            self._progress.update(_READ_SHARE * share, self.records, self.size_bytes)
            if len(batch):
                yield batch

    def _counted(self, chunks: Iterator[SortedChunk]) -> Iterator[SortedChunk]:
        done = 0
        for chunk in chunks:
            yield chunk
            done += len(chunk.columns)
            share = _READ_SHARE + (1 - _READ_SHARE) * done / max(1, self.records)
            self._progress.update(share, self.records, self.size_bytes)


def _joined(held: list[Columns]) -> RowSource:
    """Return held batches as one, and let go of them."""
    source = RowSource(held)
    held.clear()
    return source


def _sorted(held: list[Columns]) -> Iterator[Columns]:
    for chunk in sort_in_memory(_joined(held)):
        yield chunk.columns


_NATIVE_VALUES: Final = frozenset(ValueKind) - {ValueKind.PICKLED}


def write_columns(part: PartWriter, columns: Columns) -> None:
    """Write pairs as they are; native columns never become Python objects."""
    if columns.key_kind is not KeyKind.ENCODED and columns.value_kind in _NATIVE_VALUES:
        part.write_columns(columns.keys, columns.values)
    else:
        part.write(
            keys_to_python(columns.key_kind, columns.keys),
            to_python(columns.value_kind, columns.values),
        )


class Reducer:
    """Calls the user's reduce for every group and writes what it gives."""

    def __init__(self, reduce: UserFunction, part: PartWriter) -> None:
        self._reduce = reduce
        self._yields = inspect.isgeneratorfunction(reduce)
        self._part = part
        self._reader = PairReader("reduce", part.keep, keep_keys=True)

    def run(self, stream: GroupStream) -> None:
        """Reduce all groups, in order."""
        for item in stream:
            if isinstance(item, LongGroup):
                self._reduce_long(item, stream)
                continue
            results = aggregate_groups(self._reduce, item)
            columns = item.columns
            first_keys = columns.keys.take(pa.array(item.starts))
            if results is not None and columns.key_kind is not KeyKind.ENCODED:
                self._part.write_columns(first_keys, results)
            else:
                keys = keys_to_python(columns.key_kind, first_keys)
                self._reduce_groups(item, keys, to_python(columns.value_kind, columns.values))

    def _reduce_groups(self, groups: Groups, keys: list[Any], values: list[Any]) -> None:
        starts, ends = groups.starts.tolist(), groups.ends.tolist()
        for first in range(0, len(keys), _CALLS):
            some = keys[first : first + _CALLS]
            slices = list(map(slice, starts[first : first + _CALLS], ends[first : first + _CALLS]))
            lists = map(Values, map(values.__getitem__, slices))
            if not self._yields:
                self._write_returned(some, lists)
                continue
            self._write_yielded(some, lists)

    def _write_yielded(self, keys: list[Any], values: Iterator[Any]) -> None:
        """Call a generator function for each key, and write the pairs that come out."""
        remaining = iter(keys)
        pairs = chain.from_iterable(map(self._reduce, remaining, values))
        while True:
            try:
                pairs_read = self._reader.read(pairs)
            except USER_EXCEPTIONS as error:
                key = keys[len(keys) - length_hint(remaining) - 1]
                if isinstance(error, UserCodeError):
                    raise error.at_key(key) from None
                raise UserCodeError.raised("reduce", error, key=key, has_key=True) from error
            if not pairs_read[0]:
                return
            self._part.write(*pairs_read)

    def _write_returned(self, keys: list[Any], values: Iterator[Any]) -> None:
        """Call a plain function for each key, and pair what it returns with the key."""
        results = call_keeping("reduce", self._reduce, keys, values, self._kept)
        kinds = set(map(type, results))
        if type(None) not in kinds and not any(map(is_iterator_type, kinds)):
            self._part.write(keys, results)
            return
        for key, result in zip(keys, results, strict=True):
            self._write_result(key, result)

    def _kept(self, _key: Any, result: Any) -> Any:
        """Return a result as it is now: reduce may return the same object for the next key."""
        return self._part.keep(result)

    def _write_result(self, key: Any, result: Any) -> None:
        if result is None:
            return
        if not is_iterator_type(type(result)):
            self._part.write([key], [self._kept(key, result)])
            return
        while (pairs_read := self._reader.read_for(key, result))[0]:
            self._part.write(*pairs_read)

    def _reduce_long(self, group: LongGroup, stream: GroupStream) -> None:
        """Reduce a group whose values may go on through many chunks."""
        try:
            with running("reduce"):
                result = self._reduce(group.key, group.values)
        except USER_EXCEPTIONS as error:
            stream.check()
            raise UserCodeError.raised("reduce", error, key=group.key, has_key=True) from error
        stream.check()
        try:
            self._write_result(group.key, result)
        except UserCodeError:
            stream.check()
            raise
