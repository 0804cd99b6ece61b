"""The pace of snapshots and packs: a start has to read little, and writing has to cost little."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

ENTRIES_MIN: Final = 64
"""Entries since the newest snapshot that a start may always have to read."""
ENTRIES_MAX: Final = 1_000
"""Entries since the newest snapshot after which there is a new one, however large it is."""
PACK_STEP: Final = 16
"""Entries after which a pack is written anew, and so entries that a start may read one by one."""
PACK_ENTRIES: Final = 256
"""Entries of a pack that is full."""
PACK_BYTES: Final = 4 * 2**20
"""Bytes of entries that fill a pack."""


@dataclass(slots=True)
class Packing:
    """The entries of one master that its next pack will hold."""

    step: int = PACK_STEP
    entries_max: int = PACK_ENTRIES
    first: int = 0
    """Number of the first of them."""
    contents: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    _packed: int = 0
    """Number of the entries that lie in a pack already, all from the first on."""

    def append(self, number: int, content: bytes) -> None:
        """Take an entry, which follows the one before."""
        if not self.contents:
            self.first = number
        self.contents.append(content)
        self.size_bytes += len(content)

    def is_due(self) -> bool:
        """Return whether a pack of all that was taken is to be written."""
        fresh = len(self.contents) - self._packed
        return fresh >= self.step or (fresh > 0 and self.is_full())

    def is_full(self) -> bool:
        """Return whether what follows belongs to another pack."""
        return len(self.contents) >= self.entries_max or self.size_bytes >= PACK_BYTES

    def given(self) -> None:
        """Go on after all that was taken went into a pack, or is left to be read entry by entry.

        A full pack is followed by another one.
        """
        self._packed = len(self.contents)
        if self.is_full():
            self.contents, self.size_bytes, self._packed = [], 0, 0


@dataclass(slots=True)
class Compaction:
    """Count of what the journal has since its newest snapshot."""

    entries: int = 0
    entry_bytes: int = 0
    snapshot_bytes: int = 0
    """Size of the newest snapshot, where it is known."""

    def append(self, entry_bytes: int) -> None:
        """Count an entry."""
        self.entries += 1
        self.entry_bytes += entry_bytes

    def restart(self, snapshot_bytes: int) -> None:
        """Begin to count anew, at a snapshot."""
        self.entries = self.entry_bytes = 0
        self.snapshot_bytes = snapshot_bytes

    def is_due(self, *, idle: bool) -> bool:
        """Return whether a snapshot is due.

        A busy master makes one when the entries are as large as the snapshot, so that writing it
        costs no more than they did. An idle one makes it anyway: nobody waits.
        """
        if self.entries < ENTRIES_MIN:
            return False
        return idle or self.entries >= ENTRIES_MAX or self.entry_bytes >= self.snapshot_bytes
