"""Memory budget of a task, counted in bytes of its data.

Decisions rest on counted bytes and rows alone, never on measured memory or time: a task that runs
again under the same limit spills at the same places and writes the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BASELINE_BYTES: Final = 136 << 20
"""The interpreter, pyarrow and numpy (100 to 110 MiB resident once used), a batch of input, the
ranges that are read and written, and what allocators keep."""
MIN_BYTES: Final = 12 << 20
DEFAULT_MEMORY_BYTES: Final = 512 << 20
MAX_BATCH_BYTES: Final = 512 << 20
"""Larger batches sort no faster; and the offsets of Arrow's strings have 31 bits."""
LARGE_BLOCK_BYTES: Final = 4 << 20
"""Blocks are cut smaller, so this one is a single row."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes that the parts of a task may hold."""

    collect_bytes: int
    """Bytes of pairs that wait, as objects or columns, before they are sorted and spilled."""
    sort_bytes: int
    """Bytes of columns sorted in memory at once, with the memory for sorting."""
    merge_bytes: int
    """Bytes of blocks decoded during a merge."""

    @classmethod
    def of(cls, memory_bytes: int) -> Budget:
        """Return the budget of a child with this resident memory (0: a default)."""
        free = max(MIN_BYTES, (memory_bytes or DEFAULT_MEMORY_BYTES) - BASELINE_BYTES)
        part = min(MAX_BATCH_BYTES, 2 * free // 5)
        return cls(collect_bytes=part, sort_bytes=part, merge_bytes=free // 4)

    def halved(self) -> Budget:
        """Return the budget of a task that merges runs and builds one at the same time."""
        return Budget(self.collect_bytes // 2, self.sort_bytes // 2, self.merge_bytes // 2)

    def fan_in(self, block_bytes: int) -> int:
        """Return how many runs may be merged at once, given the size of a block of theirs.

        A run in a merge holds a block three times: as it is read, among the rows of the round, and
        in their order. A block that is one large row is held once.
        """
        if block_bytes >= LARGE_BLOCK_BYTES:
            return max(2, self.merge_bytes // block_bytes)
        return max(2, self.merge_bytes // (2 * max(1, block_bytes)))
