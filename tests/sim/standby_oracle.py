"""Oracle of several masters: it judges each object that appears in the store.

It follows the journal as it is created, in the order of time. An entry of a lower epoch that
becomes durable after a higher one was taken would be a second leader that acts.
"""

from __future__ import annotations

import msgspec

from mrcore.master.core.durable import Durable
from mrcore.master.core.facts import EpochTaken, Fact
from mrcore.master.core.limits import Limits
from mrcore.master.shell.entries import Entry, decode_entry
from mrcore.master.shell.snapshots import Snapshot
from mrcore.model import object_names

STATE = "mem://space/state"


class StandbyOracle:
    """The one history that the masters of a state make together."""

    def __init__(self) -> None:
        self.durable = Durable()
        self.epoch = 0
        self.number = 0
        self.entries: dict[int, Entry] = {}
        self._states: dict[int, bytes] = {0: self._encoded(self.durable)}
        self._void: set[int] = set()
        """Entries that came too late: a snapshot stood for their number already."""
        self._newest_snapshot = 0
        self.taken = 0
        """Epochs that count."""
        self.acknowledged = 0
        """Facts that a leader has acted on."""

    def stored(self, uri: str, content: bytes) -> None:
        """Judge an object that has just appeared, or was replaced."""
        if uri.startswith(object_names.journal_prefix(STATE)):
            self._entry(decode_entry(content, STATE))
        elif uri.startswith(object_names.snapshots_prefix(STATE)):
            self._snapshot(msgspec.msgpack.decode(content, type=Snapshot))

    def _entry(self, entry: Entry) -> None:
        if entry == self.entries.get(entry.number):
            return  # a late retry of a create that had happened, after the entry was deleted
        if entry.number <= self._newest_snapshot:
            only = all(isinstance(fact, EpochTaken) for fact in entry.facts)
            assert only, (
                f"entry {entry.number} of a former master became durable after {self.epoch}"
            )
            self._void.add(entry.number)
            return
        assert entry.number == self.number + 1, f"entry {entry.number} follows {self.number}"
        if isinstance(entry.facts[0], EpochTaken):
            assert entry.epoch == entry.number > self.epoch
            self.epoch = entry.epoch
            self.taken += 1
        assert entry.epoch == self.epoch, f"epoch {entry.epoch} acts while {self.epoch} leads"
        for fact in entry.facts:
            self.durable.apply(fact, Limits())
        self.number = entry.number
        self.entries[entry.number] = entry
        self._states[entry.number] = self._encoded(self.durable)

    def _snapshot(self, snapshot: Snapshot) -> None:
        self._newest_snapshot = max(self._newest_snapshot, snapshot.number)
        self.same(snapshot.number, snapshot.durable, "a snapshot")

    def same(self, number: int, durable: Durable, what: str) -> None:
        """Check that a state is that after an entry."""
        if number not in self._void:
            assert self._encoded(durable) == self._states[number], f"{what} differs at {number}"

    def leads(self, writer: str, epoch: int, durable: Durable) -> None:
        """Check that a master that begins to lead has all that came before, and counts."""
        entry = self.entries.get(epoch)
        counts = entry is not None and (entry.writer, entry.epoch) == (writer, epoch)
        assert counts, f"a master leads by entry {epoch}, which does not count"
        self.same(epoch, durable, "the state of a leader")

    def acted(self, number: int, facts: list[Fact]) -> None:
        """Check that facts are in the history on which a leader acts."""
        entry = self.entries.get(number)
        assert entry is not None, f"entry {number} is lost"
        assert list(entry.facts) == facts, f"facts of {number} are lost"
        self.acknowledged += len(facts)

    def _encoded(self, durable: Durable) -> bytes:
        return msgspec.msgpack.encode(durable)
