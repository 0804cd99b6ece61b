"""Mutants of the journal, of snapshots and compaction, and of masters that stand by."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from mrcore.master.core.facts import EpochTaken
from mrcore.master.shell.entries import FORMAT, Entry
from mrcore.master.shell.follower import Follower
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.packs import LostPackError, PackName, Packs
from mrcore.master.shell.snapshots import Snapshot, Snapshots
from mrcore.storage.base import ObjectInfo
from tests.sim.oracles.history import JOURNAL
from tests.sim.world.scene import Parts


class EpochsDeleted(Snapshots):
    """Deletes every entry that a snapshot stands for."""

    def covered_entries(self, epochs: Collection[int], known_to: int) -> Iterator[ObjectInfo]:
        """Take no entry for one of an epoch."""
        return super().covered_entries((), known_to)


class OneSnapshotKept(Snapshots):
    """Deletes up to the newest snapshot, which may be damaged."""

    def covered_entries(self, epochs: Collection[int], known_to: int) -> Iterator[ObjectInfo]:
        """Take the newest for the one before it."""
        newest = self.newest_number()
        for info in self._storage.list(JOURNAL):
            entry = int(info.uri.rpartition("/")[2])
            if entry <= min(newest, known_to) and entry not in epochs:
                yield info


class GapsIgnored(Journal):
    """Goes on where an entry is missing."""

    def _check(self, number: int, entry: Entry) -> None:
        self._number = number - 1
        super()._check(number, entry)


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


class LeadsWithoutAnEntry(Journal):
    """Leads without taking an epoch in the journal."""

    def claim(self) -> Entry | None:
        """Return an entry that is stored nowhere."""
        number = self._number + 1
        taken = EpochTaken(number, self._writer, 0.0)
        self._number = self._epoch = number
        return Entry(number, number, self._writer, (taken,), FORMAT)


class TakesEveryNumber(Journal):
    """Creates entries without asking that there is none."""

    def _create(self, entry: Entry) -> bytes:
        self._storage.delete(f"{self._state_uri}/journal/{entry.number:020d}")
        return super()._create(entry)


class FeedsTheFirst(Journal):
    """Feeds only the first fact of each entry that it reads while it waits."""

    def next(self) -> Entry | None:
        """Read an entry, and lose most of it."""
        entry = super().next()
        if entry is None:
            return None
        return Entry(entry.number, entry.epoch, entry.writer, entry.facts[:1], entry.format)


class LeadsBeforeItHasRead(Follower):
    """Takes the number after the newest entry, whether it has read that or not."""

    def _take_over(self) -> bool:
        newest = self._journal.newest_number()
        if newest > self._journal.number:
            self._journal._number = newest
        entry = self._journal.claim()
        if entry is None:
            self._catch_up()
            return False
        self._journal.feed(entry, self._replica)
        return True


class EntriesDeletedOncePacked(Snapshots):
    """Takes a pack for as good as the entries in it."""

    def covered_entries(self, epochs: Collection[int], known_to: int) -> Iterator[ObjectInfo]:
        """Yield entries that lie in packs, too."""
        yield from super().covered_entries(epochs, known_to)
        for name in Packs(self._storage, self._state_uri).after(0):
            for number in range(name.first, name.last + 1):
                yield ObjectInfo(f"{JOURNAL}{number:020d}", 0, "")


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


JOURNALS: dict[str, Parts] = {
    "SnapshotsRunAhead": Parts(encodes_late=True),
    "PacksRunAhead": Parts(packs_early=True),
    **{
        mutant.__name__: Parts(packs=mutant)
        for mutant in (DamagedPacksRead, PacksBeginLate, PacksKept)
    },
    **{
        mutant.__name__: Parts(snapshots=mutant)
        for mutant in (
            EpochsDeleted,
            OneSnapshotKept,
            EntriesDeletedOncePacked,
        )
    },
    **{
        mutant.__name__: Parts(journal=mutant)
        for mutant in (
            GapsIgnored,
            FirstEntrySkipped,
            RepliesBelieved,
            LeadsWithoutAnEntry,
            TakesEveryNumber,
            FeedsTheFirst,
        )
    },
    "LeadsBeforeItHasRead": Parts(follower=LeadsBeforeItHasRead),
}
