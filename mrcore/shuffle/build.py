"""Building the run of a task: batches are gathered, sorted, spilled and merged into one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from mrcore.shuffle.blocks import MAX_BLOCK_BYTES, MAX_ROWS
from mrcore.shuffle.budget import Budget
from mrcore.shuffle.columns import Columns, KeyKind, Layout, RowSource
from mrcore.shuffle.combine import Combiner
from mrcore.shuffle.hashing import partition_of
from mrcore.shuffle.keys import keys_to_python, shown
from mrcore.shuffle.merge import SortedChunk, merge, take_chunks
from mrcore.shuffle.runfile import RunWriter
from mrcore.shuffle.sorting import KeyRows, sort_keys, sort_part
from mrcore.shuffle.spill import Spill, SpillFolder
from mrcore.shuffle.user_code import UserCodeError, UserFunction, call_each

_MIN_BLOCK_BYTES: Final = 32 << 10
_BLOCKS_PER_REDUCE: Final = 8
"""In total order: how finely the reduce tasks can share out a run, as far as it is large enough."""


class RunBuilder:
    """Takes batches of pairs in the order of emission, and writes them as one run.

    `partitions` sections, by `partition` (the user's function) or the keys' hashes; or, in total
    order, one section sorted as a whole.
    """

    def __init__(
        self,
        partitions: int,
        budget: Budget,
        folder: Path,
        *,
        total_order: bool = False,
        partition: UserFunction | None = None,
        partition_name: str = "partition",
        combiner: Combiner | None = None,
    ) -> None:
        self._partitions = partitions
        self._budget = budget
        self._total_order = total_order
        self._partition = None if total_order else partition
        self._partition_name = partition_name
        self._combiner = combiner
        self._spill_folder = SpillFolder(folder)
        self._spills: list[Spill] = []
        self._batches: list[Columns] = []
        self._parts: list[np.ndarray] = []
        self._held_bytes = 0
        self._total_bytes = 0
        self._total_rows = 0

    @property
    def empty(self) -> bool:
        """Return whether no pair was added."""
        return not self._batches and not self._spills

    def add(self, batch: Columns) -> None:
        """Append pairs; spill where the budget says so."""
        if not len(batch):
            return
        if self._partition is not None:
            self._parts.append(self._user_parts(self._partition, batch))
        self._batches.append(batch)
        self._held_bytes += batch.sorting_bytes
        self._total_bytes += batch.size_bytes
        self._total_rows += len(batch)
        if self._held_bytes >= self._budget.collect_bytes:
            self.spill()

    def spill(self) -> None:
        """Sort what is held and write it to the local disk."""
        if self._batches:
            sections = self._sorted_sections()
            self._spills.append(self._spill_folder.write(sections, MAX_BLOCK_BYTES))

    @property
    def block_bytes(self) -> int:
        """Return the size of the run's blocks."""
        if not self._total_order:
            return MAX_BLOCK_BYTES
        fine = self._total_bytes // (_BLOCKS_PER_REDUCE * self._partitions)
        return min(MAX_BLOCK_BYTES, max(_MIN_BLOCK_BYTES, fine))

    @property
    def _block_rows(self) -> int:
        rows = self._total_rows * self.block_bytes // max(1, self._total_bytes)
        return max(1, min(MAX_ROWS, rows))

    def write(self, writer: RunWriter) -> None:
        """Write all sections."""
        if self._total_order:
            # First keys of blocks become borders between parts, so they may not depend on whether
            # memory has sufficed.
            writer.cut_every(self._block_rows)
        if self._spills:
            self.spill()
            sections = self._merged_sections()
        else:
            sections = self._sorted_sections()
        for section in sections:
            for batch in section:
                writer.add(batch)
            writer.end_section()

    def close(self) -> None:
        """Remove what lies on the local disk."""
        self._spill_folder.close()

    def _user_parts(self, partition: UserFunction, batch: Columns) -> np.ndarray:
        """Return what the user's `partition` says of each key, checked."""
        name, partitions = self._partition_name, self._partitions
        keys = keys_to_python(batch.key_kind, batch.keys)
        parts = call_each(name, partition, keys, keys, [partitions] * len(keys))
        for at, (key, part) in enumerate(zip(keys, parts, strict=True)):
            number = parts[at] = _as_int(part)
            if number is None or not 0 <= number < partitions:
                raise UserCodeError(
                    name,
                    f"{name} returned {shown(part)} for the key {shown(key)}: it must return an "
                    f"int from 0 to {partitions - 1}",
                    key=key,
                    has_key=True,
                )
        return np.array(parts, np.min_scalar_type(partitions - 1))

    def _sorted_sections(self) -> Iterator[Iterator[Columns]]:
        """Empty what is held into sorted sections."""
        batches, parts = self._batches, self._parts
        self._batches, self._parts, self._held_bytes = [], [], 0
        source = RowSource(batches)
        batches.clear()
        batch = source.heads
        # Rows in the order in which equal keys shall stay: by `sort_key`, then by emission.
        rows: np.ndarray | None = None
        if batch.order is not None:
            rows, _ = sort_keys(KeyKind.ENCODED, batch.order)
        key_rows = KeyRows(batch.key_kind, batch.keys)
        if self._total_order:
            yield self._sorted(source, key_rows, rows)
            return
        if parts:
            part_of = np.concatenate(parts)
        else:
            part_of = partition_of(batch.key_kind, batch.keys, self._partitions)
        if rows is None:
            rows = np.argsort(part_of, kind="stable")
        else:
            rows = rows[np.argsort(part_of[rows], kind="stable")]
        ends = np.cumsum(np.bincount(part_of, minlength=self._partitions))
        start = 0
        for end in ends.tolist():
            yield self._sorted(source, key_rows, rows[start:end])
            start = end

    def _sorted(
        self, source: RowSource, key_rows: KeyRows, rows: np.ndarray | None
    ) -> Iterator[Columns]:
        """Yield some rows, or all, in the order of their keys."""
        if rows is not None and not len(rows):
            return iter(())
        order, new = sort_part(key_rows, rows)
        # Whole blocks in total order, so that the writer need not join what is left of each chunk.
        chunks = take_chunks(source, order, new, self._block_rows if self._total_order else 1)
        # Combining what hardly repeats would cost more than it saves.
        if self._combiner is not None and 2 * np.count_nonzero(new) <= len(order):
            return self._combiner.combine_stream(chunks)
        return (chunk.columns for chunk in chunks)

    def _merged_sections(self) -> Iterator[Iterator[Columns]]:
        spills = reduce_spills(
            self._spills, self._spill_folder, self._budget, self._section_count, self._combined
        )
        layout = common_layout_of(spills)
        for index in range(self._section_count):
            yield self._combined(merge([spill.section(index) for spill in spills], layout))

    @property
    def _section_count(self) -> int:
        return 1 if self._total_order else self._partitions

    def _combined(self, chunks: Iterator[SortedChunk]) -> Iterator[Columns]:
        if self._combiner is not None:
            return self._combiner.combine_stream(chunks)
        return (chunk.columns for chunk in chunks)


def _as_int(part: object) -> int | None:
    """Return what a sequence would take for an index, numpy's integers too, as an int."""
    try:
        return None if isinstance(part, bool) else operator.index(part)  # type: ignore[arg-type]
    except TypeError:
        return None


def common_layout_of(spills: Iterable[Spill]) -> Layout:
    """Return the layout that all spills (at least one) can be brought to."""
    layout: Layout | None = None
    for spill in spills:
        layout = spill.layout if layout is None else layout.join(spill.layout)
    assert layout is not None
    return layout


def reduce_spills(
    spills: list[Spill],
    folder: SpillFolder,
    budget: Budget,
    sections: int,
    finish: Callable[[Iterator[SortedChunk]], Iterator[Columns]],
) -> list[Spill]:
    """Merge neighbours until few enough are left to be merged at once; return those."""
    while len(spills) > (fan_in := budget.fan_in(max(spill.block_bytes for spill in spills))):
        merged = []
        for start in range(0, len(spills), fan_in):
            group = spills[start : start + fan_in]
            if len(group) == 1:
                merged.append(group[0])
                continue
            layout = common_layout_of(group)
            merged.append(
                folder.write(
                    (
                        finish(merge([spill.section(index) for spill in group], layout))
                        for index in range(sections)
                    ),
                    MAX_BLOCK_BYTES,
                )
            )
            for spill in group:
                folder.remove(spill)
        spills = merged
    return spills
