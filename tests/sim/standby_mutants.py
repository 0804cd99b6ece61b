"""Masters with one part wrong each: the simulation of several masters must find every one."""

from __future__ import annotations

from collections.abc import Collection

from mrcore.master.core.facts import EpochTaken
from mrcore.master.shell.entries import FORMAT, Entry
from mrcore.master.shell.follower import Follower
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.snapshots import Snapshots
from tests.sim.standby_world import Make


class LeadsWithoutAnEntry(Journal):
    """Leads without taking an epoch in the journal."""

    def claim(self) -> Entry | None:
        """Return an entry that is stored nowhere."""
        number = self._number + 1
        taken = EpochTaken(number, self._writer, 0.0)
        self._number = self._epoch = number
        return Entry(number, number, self._writer, (taken,), FORMAT)


class LeadsWithoutALook(Journal):
    """Counts a take-over without looking for a snapshot at or above its number."""

    def claim(self) -> Entry | None:
        """Take the next number, and trust it."""
        found, self.snapshots.newest_number = self.snapshots.newest_number, lambda: 0  # type: ignore[method-assign]
        try:
            return super().claim()
        finally:
            self.snapshots.newest_number = found  # type: ignore[method-assign]


class TakesEveryNumber(Journal):
    """Creates entries without asking that there is none."""

    def _create(self, entry: Entry) -> bytes:
        self._storage.delete(f"{self._state_uri}/journal/{entry.number:020d}")
        return super()._create(entry)


class BelievesItsOwn(Journal):
    """Takes any entry at its number for its own, whose reply was lost."""

    def _is_ours(self, uri: str) -> bool:
        return True


class DeletesEpochs(Journal):
    """Deletes entries that took an epoch, once a snapshot stands for them."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.snapshots = _Careless(self._storage, self._state_uri)


class _Careless(Snapshots):
    def delete_covered(self, epochs: Collection[int], known_to: int) -> int:
        """Delete all that snapshots stand for."""
        return super().delete_covered((), known_to)


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


MUTANTS = (
    Make(journal=LeadsWithoutAnEntry),
    Make(journal=LeadsWithoutALook),
    Make(journal=TakesEveryNumber),
    Make(journal=BelievesItsOwn),
    Make(journal=DeletesEpochs),
    Make(journal=FeedsTheFirst),
    Make(follower=LeadsBeforeItHasRead),
)
