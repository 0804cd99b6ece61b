"""Oracle of the journal: the one history that all masters of a state make together.

It judges each object of the state as it appears. An entry of a lower epoch that becomes durable
after a higher one was taken would be a second leader that acts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from mrcore.master.core.durable import Durable
from mrcore.master.core.facts import EpochTaken, Fact
from mrcore.master.core.limits import Limits
from mrcore.master.shell.entries import Entry, decode_entry
from mrcore.master.shell.packs import encode_pack
from mrcore.master.shell.snapshots import KEPT, decode_snapshot
from mrcore.model import object_names

STATE = "sim://space/state"
JOURNAL = object_names.journal_prefix(STATE)
SNAPSHOTS = object_names.snapshots_prefix(STATE)
PACKS = object_names.packs_prefix(STATE)
# Tasks take longer than a real review of them waits, so that most of its looks would find nothing.
LIMITS = Limits(prefetch_per_worker_max=8, losses_max=20, review_seconds=4.0, parks_per_lease=2)
COMPARED_EVERY = 4
"""Entries between two comparisons of what a leader has in memory with the journal."""


class History:
    """The journal as it became durable, and the state that it makes."""

    def __init__(self) -> None:
        self.durable = Durable()
        self.epoch = 0
        self.number = 0
        self.facts: list[Fact] = []
        """All facts, in order."""
        self.facts_at: dict[int, int] = {0: 0}
        """Number of facts up to each entry."""
        self.observe: list[Callable[[Fact], None]] = []
        """Receivers of each fact that has become durable."""
        self._entries: dict[int, Entry] = {}
        self._contents: dict[int, bytes] = {}
        """Content of each entry, as it lies in the journal."""
        self._states: dict[int, bytes] = {0: _encoded(self.durable)}
        self._void: set[int] = set()
        """Entries that came too late: a snapshot stood for their number already."""
        self._newest_snapshot = 0
        self._snapshots: set[int] = set()
        """Numbers of the snapshots that are there."""
        self.taken = 0
        """Epochs that count."""

    # -- objects of the state --------------------------------------------------------------------

    def stored(self, uri: str, content: bytes) -> None:
        """Judge an object that has just appeared, or was replaced."""
        if uri.startswith(JOURNAL):
            self._entry(decode_entry(content, STATE), content)
        elif uri.startswith(SNAPSHOTS):
            snapshot = decode_snapshot(content, STATE)
            assert snapshot.number <= self.number, f"snapshot {snapshot.number} is ahead"
            self._snapshots.add(snapshot.number)
            self._newest_snapshot = max(self._newest_snapshot, snapshot.number)
            self.same(snapshot.number, snapshot.durable, "a snapshot")
        elif uri.startswith(PACKS):
            self._pack(uri, content)

    def _pack(self, uri: str, content: bytes) -> None:
        first, last = (int(part) for part in uri.removeprefix(PACKS).split("-"))
        assert last <= self.number, f"the pack up to {last} is ahead of the journal"
        true = [self._contents[number] for number in range(first, last + 1)]
        assert content == encode_pack(first, true), f"the pack of {first} to {last} is wrong"

    def deleted(self, uri: str, content: bytes) -> None:
        """Judge an object that is about to be deleted."""
        if uri.startswith(JOURNAL):
            number = int(uri.removeprefix(JOURNAL))
            if content == self._contents.get(number):
                entry = self._entries[number]
                takes = isinstance(entry.facts[0], EpochTaken)
                assert not takes, f"entry {entry.number} is deleted, which took an epoch"
                kept = sorted(self._snapshots)[-KEPT:]
                covered = len(kept) == KEPT and entry.number <= kept[0]
                assert covered, f"entry {entry.number} is deleted, and snapshots lack it"
        self._snapshots.discard(_number_of_snapshot(uri))

    def _entry(self, entry: Entry, content: bytes) -> None:
        if content == self._contents.get(entry.number):
            return  # a late retry of a create that had happened, after the entry was deleted
        if entry.number <= self._newest_snapshot:
            only = all(isinstance(fact, EpochTaken) for fact in entry.facts)
            assert only, f"entry {entry.number} of a former master came after epoch {self.epoch}"
            self._void.add(entry.number)
            return
        assert entry.number == self.number + 1, f"entry {entry.number} follows {self.number}"
        if isinstance(entry.facts[0], EpochTaken):
            assert entry.epoch == entry.number > self.epoch
            self.epoch = entry.epoch
            self.taken += 1
        assert entry.epoch == self.epoch, f"epoch {entry.epoch} acts while {self.epoch} leads"
        for fact in entry.facts:
            self.durable.apply(fact, LIMITS)
            for observe in self.observe:
                observe(fact)
        self.facts += entry.facts
        self.facts_at[entry.number] = len(self.facts)
        self.number = entry.number
        self._entries[entry.number] = entry
        self._contents[entry.number] = content
        self._states[entry.number] = _encoded(self.durable)

    def judge_compaction(self, names: Sequence[str], number: int) -> None:
        """Check that all is gone for which the kept snapshots stand, once one was written."""
        snapshots = [int(n.removeprefix(SNAPSHOTS)) for n in names if n.startswith(SNAPSHOTS)]
        assert number in snapshots, f"snapshot {number} is not there"
        assert len(snapshots) <= KEPT, f"snapshots {snapshots} are left"
        if len(snapshots) < KEPT:
            return
        entries = [int(n.removeprefix(JOURNAL)) for n in names if n.startswith(JOURNAL)]
        packs = [int(n.rpartition("-")[2]) for n in names if n.startswith(PACKS)]
        left = {n for n in entries if n <= snapshots[0]} - set(self.durable.epochs) - self._void
        assert not left, f"entries {sorted(left)} are left"
        assert all(last > snapshots[0] for last in packs), f"packs up to {packs} are left"

    # -- what masters believe --------------------------------------------------------------------

    def same(self, number: int, durable: Durable, what: str) -> None:
        """Check that a state is that after an entry."""
        if number not in self._void:
            assert _encoded(durable) == self._states[number], f"{what} differs at {number}"

    def leads(self, writer: str, epoch: int, durable: Durable) -> None:
        """Check that a master that begins to lead has all that came before, and counts."""
        entry = self._entries.get(epoch)
        counts = entry is not None and (entry.writer, entry.epoch) == (writer, epoch)
        assert counts, f"a master leads by entry {epoch}, which does not count"
        self.same(epoch, durable, "the state of a leader")

    def acts(self, epochs: Iterable[int]) -> None:
        """Check, of the epochs of all that lead, that at most one of them can still change this."""
        able = [epoch for epoch in epochs if epoch >= self.epoch]
        assert len(able) <= 1, f"masters of the epochs {able} act at once"

    def acted(self, number: int, facts: list[Fact]) -> None:
        """Check that facts are in the history on which a leader acts."""
        entry = self._entries.get(number)
        assert entry is not None, f"entry {number} is lost"
        assert list(entry.facts) == facts, f"facts of {number} are lost"


def _number_of_snapshot(uri: str) -> int:
    """Return the number of a snapshot, 0 for another object."""
    return int(uri.removeprefix(SNAPSHOTS)) if uri.startswith(SNAPSHOTS) else 0


def _encoded(durable: Durable) -> bytes:
    return msgspec.msgpack.encode(durable)
