"""Journals and snapshots with one fault each: the simulation must find every one of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from mrcore.master.shell.entries import Entry
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.packs import LostPackError, PackName, Packs
from mrcore.master.shell.snapshots import Snapshot, Snapshots
from mrcore.storage.base import ObjectInfo
from tests.sim.narrow.journals import Parts


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


class EntriesDeletedOncePacked(Snapshots):
    """Takes a pack for as good as the entries in it."""

    def covered_entries(self, epochs: Collection[int], known_to: int) -> Iterator[ObjectInfo]:
        """Yield entries that lie in packs, too."""
        yield from super().covered_entries(epochs, known_to)
        for name in Packs(self._storage, self._state_uri).after(0):
            for number in range(name.first, name.last + 1):
                yield ObjectInfo(f"mem://sim/state/journal/{number:020d}", 0, "")


class DamagedPacksRead(Packs):
    """Takes a pack that cannot be read for an empty one."""

    def read(self, name: PackName) -> tuple[bytes, ...]:
        """Return nothing where there is damage."""
        try:
            return super().read(name)
        except LostPackError:
            return ()


class PacksBeginLate(Packs):
    """Names a pack by the entry after its first."""

    def write(self, first: int, contents: Sequence[bytes]) -> None:
        """Write a pack under the wrong name."""
        super().write(first + 1, contents)


class PacksKept(Packs):
    """Leaves packs behind that snapshots stand for."""

    def delete_covered(self, up_to: int) -> int:
        """Delete nothing."""
        return 0


REAL = Parts()
JOURNAL_MUTANTS: dict[str, Parts] = {
    "SnapshotsRunAhead": replace(REAL, encodes_late=True),
    "PacksRunAhead": replace(REAL, packs_early=True),
    **{
        mutant.__name__: replace(REAL, packs=mutant)
        for mutant in (DamagedPacksRead, PacksBeginLate, PacksKept)
    },
    **{
        mutant.__name__: replace(REAL, snapshots=mutant)
        for mutant in (
            EpochsDeleted,
            LaterEpochsDeleted,
            OneSnapshotKept,
            SnapshotsFirst,
            EntriesDeletedOncePacked,
        )
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
