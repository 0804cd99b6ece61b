"""The pace of snapshots: a start has to read little, and writing them has to cost little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ENTRIES_MIN: Final = 64
"""Entries since the newest snapshot that a start may always have to read."""
ENTRIES_MAX: Final = 1_000
"""Entries since the newest snapshot after which there is a new one, however large it is."""


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
