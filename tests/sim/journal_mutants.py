"""Journals and snapshots with one fault each: the simulation must find every one of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from mrcore.master.shell.entries import Entry
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.snapshots import Snapshot, Snapshots
from mrcore.storage.base import ObjectInfo
from tests.sim.journals import Parts


class EpochsDeleted(Snapshots):
    """Deletes every entry that a snapshot stands for."""

    def covered_entries(self, epochs: Collection[int], known_to: int) -> Iterator[ObjectInfo]:
        """Take no entry for one of an epoch."""
        return super().covered_entries((), known_to)


class LaterEpochsDeleted(Snapshots):
    """Deletes what the snapshots of other masters stand for, too."""

    def covered_entries(self, epochs: Collection[int], known_to: int) -> Iterator[ObjectInfo]:
        """Believe that all epochs are known."""
        return super().covered_entries(epochs, 10**9)


class OneSnapshotKept(Snapshots):
    """Deletes up to the newest snapshot, which may be damaged."""

    def covered_entries(self, epochs: Collection[int], known_to: int) -> Iterator[ObjectInfo]:
        """Take the newest for the one before it."""
        newest = self.newest_number()
        for info in self._storage.list("mem://sim/state/journal/"):
            entry = int(info.uri.rpartition("/")[2])
            if entry <= min(newest, known_to) and entry not in epochs:
                yield info


class SnapshotsFirst(Snapshots):
    """Takes the oldest snapshot for the newest."""

    def newest(self, after: int = 0) -> Snapshot | None:
        """Return the oldest one."""
        numbers = sorted(n for n in self._numbers() if n > after)
        return next((read for n in numbers if (read := self._read(n)) is not None), None)


class GapsIgnored(Journal):
    """Goes on where an entry is missing."""

    def _check(self, number: int, entry: Entry) -> None:
        self._number = number - 1
        super()._check(number, entry)


class SlowStartsLead(Journal):
    """Leads with its number, though a snapshot stands for a later one."""

    def take_over(self) -> Iterator[Any]:
        """Take over without a look at the snapshots."""
        number, self.snapshots.newest_number = (  # type: ignore[method-assign]
            self.snapshots.newest_number,
            lambda: 0,
        )
        try:
            yield from super().take_over()
        finally:
            self.snapshots.newest_number = number  # type: ignore[method-assign]


class FirstEntrySkipped(Journal):
    """Takes the entry right after a snapshot for a part of it."""

    def _begin_at(self, snapshot: Snapshot) -> Snapshot:
        super()._begin_at(snapshot)
        self._number += 1
        return snapshot


class RepliesBelieved(Journal):
    """Takes the entry of another for its own, whose reply was lost."""

    def _is_ours(self, uri: str) -> bool:
        return True


REAL = Parts()
_JOURNALS = (GapsIgnored, SlowStartsLead, FirstEntrySkipped, RepliesBelieved)
JOURNAL_MUTANTS: dict[str, Parts] = {
    "SnapshotsRunAhead": replace(REAL, encodes_late=True),
    **{
        mutant.__name__: replace(REAL, snapshots=mutant)
        for mutant in (EpochsDeleted, LaterEpochsDeleted, OneSnapshotKept, SnapshotsFirst)
    },
    **{
        mutant.__name__: replace(REAL, journal=mutant)
        for mutant in (
            GapsIgnored,
            SlowStartsLead,
            FirstEntrySkipped,
            RepliesBelieved,
        )
    },
}
