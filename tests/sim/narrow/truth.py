"""The store of the simulated journal, with the one history that it may have."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mrcore.master.core.durable import Durable
from mrcore.master.core.facts import EpochTaken
from mrcore.master.core.limits import Limits
from mrcore.master.shell.entries import Entry, encode_entry
from mrcore.master.shell.packs import encode_pack
from mrcore.master.shell.snapshots import KEPT, encode_snapshot
from mrcore.model import object_names
from mrcore.storage.base import ObjectInfo
from mrcore.storage.memory import MemoryStorage
from tests.support.fake_clock import FakeClock

STATE = "mem://sim/state"
LIMITS = Limits()
JOURNAL = object_names.journal_prefix(STATE)
SNAPSHOTS = object_names.snapshots_prefix(STATE)
PACKS = object_names.packs_prefix(STATE)


class Truth(MemoryStorage):
    """The store, with the one history that the journal has: it judges each change as it comes."""

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.durable = Durable()
        self.entries: list[Entry] = []
        self.contents: list[bytes] = [encode_snapshot(0, self.durable)]
        """The right snapshot after each entry."""
        self.damaged = ""

    def put(
        self,
        uri: str,
        content: bytes,
        *,
        expect: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Store an object, and judge it."""
        info = super().put(uri, content, expect=expect, metadata=metadata)
        if uri.startswith(JOURNAL):
            self._judge_entry(msgspec.json.decode(content, type=Entry))
        elif uri.startswith(SNAPSHOTS):
            number = int(uri.removeprefix(SNAPSHOTS))
            assert number <= len(self.entries), f"snapshot {number} is ahead of the journal"
            assert content == self.contents[number], f"snapshot {number} is not the state after it"
        elif uri.startswith(PACKS):
            first, last = (int(part) for part in uri.removeprefix(PACKS).split("-"))
            assert last <= len(self.entries), f"the pack up to {last} is ahead of the journal"
            true = [encode_entry(entry) for entry in self.entries[first - 1 : last]]
            assert content == encode_pack(first, true), f"the pack of {first} to {last} is wrong"
        return info

    def _judge_entry(self, entry: Entry) -> None:
        if entry.number <= len(self.entries):
            # A start that was too slow, which has to notice by itself; or a repeated create, whose
            # first reply was lost.
            is_slow = isinstance(entry.facts[0], EpochTaken)
            is_known = entry == self.entries[entry.number - 1]
            assert is_slow or is_known, f"a fenced master writes entry {entry.number} again"
            return
        assert entry.number == len(self.entries) + 1, f"entry {entry.number} leaves a gap"
        if not isinstance(entry.facts[0], EpochTaken):
            assert entry.epoch == self.durable.epoch, f"a fenced master writes entry {entry.number}"
        self.entries.append(entry)
        for fact in entry.facts:
            self.durable.apply(fact, LIMITS)
        self.contents.append(encode_snapshot(entry.number, self.durable))

    def delete(self, uri: str, *, generation: str | None = None) -> bool:
        """Delete an object, unless it is one that has to stay."""
        if uri.startswith(JOURNAL):
            entry = self.entries[int(uri.removeprefix(JOURNAL)) - 1]
            stored = (
                msgspec.json.decode(self.read(uri), type=Entry) if self._is_there(uri) else None
            )
            if isinstance(entry.facts[0], EpochTaken) and stored == entry:
                raise AssertionError(f"entry {entry.number} is deleted, which took an epoch")
        return super().delete(uri, generation=generation)

    def _is_there(self, uri: str) -> bool:
        return any(info.uri == uri for info in self.list(uri))

    def damage_newest(self) -> None:
        """Damage the newest snapshot, where the one before it can be read; and the newest pack."""
        for info in list(self.list(PACKS))[-1:]:
            super().put(info.uri, self.read(info.uri)[:-1])
        found = [info.uri for info in self.list(SNAPSHOTS)]
        if len(found) < KEPT or self.damaged in found:
            return
        self.damaged = found[-1]
        super().put(self.damaged, self.read(self.damaged)[:-1])
