"""Outputs of a task: a run for the next stage, or a part of the job's output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from mrcore.model import object_names
from mrcore.model.task import TaskOutput, TaskSpec
from mrcore.plugin.functions import StepFunctions
from mrcore.records.writers import PartWriter, open_part
from mrcore.shuffle.arrow import Array
from mrcore.shuffle.budget import Budget
from mrcore.shuffle.build import RunBuilder
from mrcore.shuffle.collect import Collector, arrow_batches
from mrcore.shuffle.combine import Combiner
from mrcore.shuffle.runfile import RunWriter
from mrcore.shuffle.user_code import PairReader, UserCodeError, read_pairs
from mrcore.shuffle.values import plain
from mrcore.storage.base import ABSENT, Writer
from mrcore.storage.places import Reach
from mrcore.storage.registry import reach_of, storage_for
from mrcore.tasks.bad_keys import BadKeys
from mrcore.tasks.emit import PairTaker
from mrcore.tasks.emitted_rows import PairsAsRows, first_of, is_row, read_rows, rows_of_tables
from mrcore.tasks.partitioned import PartitionedPart
from mrcore.tasks.skipped import Guard


class RunOutput(PairTaker):
    """A run: pairs are combined, sorted and partitioned as the step wants them."""

    def __init__(
        self,
        step: StepFunctions,
        of_step: str,
        *,
        partitions: int,
        total_order: bool,
        budget: Budget,
        folder: Path,
        guard: Guard,
    ) -> None:
        """`of_step` follows the names of the step's functions in errors."""
        self._spec = spec = guard.spec
        self._partitions = partitions
        self._total_order = total_order
        combine = step.get("combine") if spec.job.combine else None
        keys = BadKeys(guard, f"combine{of_step}")
        combiner = None
        if combine is not None:
            combiner = Combiner(keys.guarded(combine), f"combine{of_step}")
        self._counts_values = combiner is not None and combiner.counts_values
        self._builder = RunBuilder(
            partitions,
            budget,
            folder,
            total_order=total_order,
            partition=step.get("partition"),
            partition_name=f"partition{of_step}",
            combiner=combiner,
        )
        self._collector = Collector(
            self._builder,
            budget,
            combiner=combiner,
            sort_key=step.get("sort_key"),
            sort_key_name=f"sort_key{of_step}",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._builder.close()

    def start_batch(self, records: int, size_bytes: int) -> None:
        """Expect values of the size of the input's records."""
        self._collector.start_batch(records, size_bytes)

    def take(self, function: str, pairs: Iterator[Any]) -> None:
        """Collect all pairs of an iterator over the user's code."""
        self._collector.add(pairs, function)

    def write(self, function: str, keys: list[Any], values: list[Any]) -> None:
        """Collect pairs."""
        self._collector.add(zip(keys, values, strict=True), function, len(keys))

    def write_columns(self, keys: Array, values: Array) -> None:
        """Collect pairs that lie in columns."""
        self._collector.add_columns(keys, values)

    def judge(self, keys: list[Any], values: list[Any]) -> None:
        """Raise for keys and values that no run can hold."""
        self._collector.judge(keys, [1] * len(values) if self._counts_values else values)

    def close(self) -> TaskOutput:
        """Write the run; a task that emitted nothing has none."""
        self._collector.finish()
        return msgspec.structs.replace(
            self._write(),
            number_kinds=self._collector.number_kinds,
            records_out=self._collector.pairs,
        )

    def _write(self) -> TaskOutput:
        spec, builder = self._spec, self._builder
        empty = TaskOutput(section_bytes=() if self._total_order else (0,) * self._partitions)
        if builder.empty:
            return empty
        uri = object_names.run_uri(spec.job, spec.attempt)
        with storage_for(uri).open_write(uri, expect=ABSENT) as sink:
            writer = RunWriter(
                sink, codec_for(uri), builder.block_bytes, first_keys=self._total_order
            )
            builder.write(writer)
            digest = writer.finish()
            if not writer.rows:  # the combiner has dropped everything
                return empty
            info = sink.commit()
        sections = () if self._total_order else writer.sections
        return TaskOutput(
            object=info,
            digest=digest,
            section_bytes=tuple(section.length_bytes for section in sections),
            blocks=tuple(writer.blocks),
            heavy_key=writer.heavy_key,
            bytes_out=info.size_bytes,
        )


def codec_for(uri: str) -> str:
    """Return how runs are compressed: by LZ4 on the local disk, by zstd where bytes travel."""
    return "zstd" if reach_of(uri) is Reach.EVERYWHERE else "lz4"


class PartOutput:
    """A part of the output, staged under the attempt's own name."""

    takes_rows = True

    def __init__(self, part: PartWriter, sink: Writer) -> None:
        self._part = part
        self._sink = sink
        self._has_rows: bool | None = None
        """Whether rows or pairs were written; None before the first."""

    @classmethod
    @contextmanager
    def open(cls, spec: TaskSpec, folder: Path) -> Iterator[Self]:
        """Open the staged object of an attempt; it is discarded where the block fails.

        A folder in `folder` takes what waits on the local disk.
        """
        job = spec.job
        uri = object_names.staged_part_uri(job, spec.attempt)
        with storage_for(uri).open_write(uri, expect=ABSENT) as sink:
            if job.partition_by:
                yield cls(PairsAsRows(PartitionedPart(spec, sink, folder / "parts")), sink)
                return
            part = open_part(sink, job.output_format, job.compression, job.columns)
            yield cls(PairsAsRows(part) if job.columns else part, sink)

    def start_batch(self, records: int, size_bytes: int) -> None:
        """Do nothing: pairs are written as they come."""

    def take(self, function: str, pairs: Iterator[Any]) -> None:
        """Write all pairs, or all rows, of an iterator over the user's code."""
        first, pairs = first_of(function, pairs)
        if first is None:
            pairs = iter(())
        if is_row(first):
            self._begin(function, rows=True)
            while rows := read_rows(function, pairs):
                self._part.write_rows(rows)
            return
        reader = PairReader(function, self._part.keep, keep_keys=True)
        while (some := read_pairs(reader, pairs))[0]:
            self.write(function, *some)

    def take_tables(self, function: str, tables: Iterator[Any]) -> None:
        """Write the rows of RecordBatches and Tables; columns but `key` and `value` make rows."""
        for table in tables:
            batches = rows_of_tables(table)
            if batches is not None:
                self._begin(function, rows=True)
                for rows in batches:
                    self._part.write_rows(rows)
                continue
            for batch in arrow_batches(function, table):
                self.write_columns(plain(batch.column("key")), plain(batch.column("value")))

    def keep(self, value: Any) -> Any:
        """Return what the format needs of a value."""
        return self._part.keep(value)

    def write(self, function: str, keys: list[Any], values: list[Any]) -> None:
        """Write pairs."""
        self._begin(function, rows=False)
        self._part.write(keys, values)

    def write_columns(self, keys: Array, values: Array) -> None:
        """Write pairs that lie in columns."""
        self._begin("the plugin", rows=False)
        self._part.write_columns(keys, values)

    def _begin(self, function: str, *, rows: bool) -> None:
        """Raise UserCodeError where pairs follow rows, or rows pairs."""
        if self._has_rows is not None and self._has_rows is not rows:
            kinds = ("rows", "pairs") if rows else ("pairs", "rows")
            raise UserCodeError(
                function,
                f"{function} emitted {kinds[0]} after {kinds[1]}: yield only dicts, or only (key, "
                "value) pairs",
            )
        self._has_rows = rows

    def judge(self, keys: list[Any], values: list[Any]) -> None:
        """Refuse nothing: without a shuffle keys need no order."""

    def close(self) -> TaskOutput:
        """Finish the staged part."""
        counts = self._part.close()
        return TaskOutput(
            object=self._sink.commit().with_crc32c(counts.crc32c),
            digest=counts.schema_digest,
            records_out=counts.records,
            bytes_out=counts.size_bytes,
        )
