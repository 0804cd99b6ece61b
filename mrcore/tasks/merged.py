"""The rows of one partition, merged from the runs of earlier stages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mrcore.model.task import RunInput
from mrcore.shuffle.blocks import MAX_BLOCK_BYTES
from mrcore.shuffle.budget import Budget
from mrcore.shuffle.build import common_layout_of, reduce_spills
from mrcore.shuffle.columns import Columns, RowSource
from mrcore.shuffle.merge import SortedChunk, merge, sort_in_memory
from mrcore.shuffle.ranges import trim
from mrcore.shuffle.reading import read_slices
from mrcore.shuffle.spill import SpillFolder
from mrcore.tasks.progress import ProgressSink

_READ_SHARE: Final = 0.5
"""Share of a reduce task's progress."""


class MergedRows:
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
            # Runs are compressed, so what is read of them is an estimate.
            share = min(1.0, read_bytes / max(1, 4 * self.size_bytes))
            size_bytes = int(share * self.size_bytes)
            self._progress.update(_READ_SHARE * share, self.records, size_bytes)
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
