"""Packs: a start reads few objects, and the same state, whatever became of a pack."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from mrcore.errors import UnavailableError
from mrcore.master.core.compaction import PACK_BYTES, PACK_ENTRIES, PACK_STEP, Packing
from mrcore.master.core.durable import Durable
from mrcore.master.core.facts import WorkerJoined
from mrcore.master.shell.compactor import Compactor
from mrcore.master.shell.entries import decode_entry, encode_entry
from mrcore.master.shell.packs import Pack, Packs, encode_pack
from mrcore.master.shell.snapshots import Snapshots
from mrcore.model import object_names
from mrcore.storage.faulty import FaultKind, FaultyStorage, script
from mrcore.storage.memory import MemoryStorage
from tests.support.fake_clock import FakeClock
from tests.support.journals import STATE, Master


def packed(entries: int) -> tuple[MemoryStorage, Durable]:
    """Return a store with the journal of a master that has appended entries, and its state."""
    storage = MemoryStorage()
    master = Master(storage)
    compactor = Compactor(master.journal.snapshots, master.journal.packs, 0, FakeClock())
    for number in range(entries):
        content = master.append(WorkerJoined(f"w{number}"))
        compactor.add(master.journal.number, content)
        compactor._thread.submit(lambda: None).result()
    compactor.close()
    return storage, master.durable


def pack_names(storage: MemoryStorage) -> list[tuple[int, int]]:
    prefix = object_names.packs_prefix(STATE)
    names = [info.uri.removeprefix(prefix) for info in storage.list(prefix)]
    return [(int(name[:20]), int(name[21:])) for name in names]


def read_by_a_start(storage: MemoryStorage) -> tuple[list[str], Durable]:
    """Return the objects that the next master reads, and the state that it makes of them."""
    seen: list[str] = []

    def watched(operation: str, uri: str) -> None:
        if operation == "read":
            seen.append(uri.removeprefix(STATE + "/").partition("/")[0])

    master = Master(FaultyStorage(storage, script({}), hook=watched))
    return seen, master.durable


def without_epoch(durable: Durable) -> list[str]:
    return sorted(durable.workers)


def test_a_start_after_a_crash_reads_a_thousand_entries_in_a_few_dozen_objects() -> None:
    storage, state = packed(1_000)
    reads, again = read_by_a_start(storage)
    # The former master's first entry has its own object, and so have the newest few.
    assert (reads.count("packs"), reads.count("journal")) == (4, 1 + 1_000 % PACK_STEP)
    assert without_epoch(again) == without_epoch(state)


def test_the_packs_that_longer_ones_replaced_go_but_for_the_latest() -> None:
    storage, _ = packed(PACK_ENTRIES + 3 * PACK_STEP)
    first, second = 2, 2 + PACK_ENTRIES
    assert pack_names(storage) == [
        (first, second - 1 - PACK_STEP),
        (first, second - 1),
        (second, second - 1 + 2 * PACK_STEP),
        (second, second - 1 + 3 * PACK_STEP),
    ]


def cut(storage: MemoryStorage, uri: str) -> None:
    storage.put(uri, storage.read(uri)[:-1])


def of_another_version(storage: MemoryStorage, uri: str) -> None:
    content = storage.read(uri)
    assert content.count(b"\xa6format\x01") == 1
    storage.put(uri, content.replace(b"\xa6format\x01", b"\xa6format\x02"))


def with_a_damaged_entry(storage: MemoryStorage, uri: str) -> None:
    content = storage.read(uri)
    storage.put(uri, content.replace(b'{"number":5,', b'{"number":5;'))


def of_another_journal(storage: MemoryStorage, uri: str) -> None:
    pack = msgspec.msgpack.decode(storage.read(uri), type=Pack)
    entries = [decode_entry(content, STATE) for content in pack.contents]
    others = [encode_entry(msgspec.structs.replace(entry, epoch=9)) for entry in entries]
    storage.put(uri, encode_pack(pack.first, others))


@pytest.mark.parametrize(
    ("harm", "taken"),
    [(cut, 0), (of_another_version, 0), (with_a_damaged_entry, 3), (of_another_journal, 0)],
)
def test_a_pack_that_cannot_be_read_costs_only_time(
    harm: Callable[[MemoryStorage, str], None], taken: int
) -> None:
    storage, state = packed(3 * PACK_STEP)
    for info in list(storage.list(object_names.packs_prefix(STATE))):
        before = storage.read(info.uri)
        harm(storage, info.uri)
        assert storage.read(info.uri) != before
    reads, again = read_by_a_start(storage)
    assert reads.count("journal") >= 3 * PACK_STEP - taken
    assert without_epoch(again) == without_epoch(state)


def test_a_start_reads_a_pack_that_begins_before_its_snapshot() -> None:
    storage = MemoryStorage()
    master = Master(storage)
    contents = [master.append(WorkerJoined("a"))]
    master.snapshot()
    contents.append(master.append(WorkerJoined("b")))
    contents.append(master.append(WorkerJoined("c")))
    master.journal.packs.write(2, contents)
    reads, again = read_by_a_start(storage)
    assert reads.count("packs") == 1
    assert "journal" not in reads
    assert without_epoch(again) == ["a", "b", "c"]


def test_packs_go_once_two_snapshots_stand_for_them() -> None:
    storage = MemoryStorage()
    master = Master(storage)
    packs, snapshots = master.journal.packs, master.journal.snapshots
    packs.write(2, [master.append(WorkerJoined("a"))])
    packs.write(3, [master.append(WorkerJoined("b"))])
    master.snapshot()
    assert packs.delete_covered(snapshots.covered_to()) == 0
    packs.write(4, [master.append(WorkerJoined("c"))])
    master.snapshot()
    assert packs.delete_covered(snapshots.covered_to()) == 2
    assert pack_names(storage) == [(4, 4)]


def test_a_pack_stays_while_one_of_its_entries_lies_after_the_snapshots() -> None:
    storage = MemoryStorage()
    packs = Packs(storage, STATE)
    packs.write(2, [b"two", b"three"])
    assert packs.delete_covered(2) == 0
    assert packs.delete_covered(3) == 1


def test_a_pack_is_due_after_some_entries_and_full_by_number_or_bytes() -> None:
    packing = Packing()
    due = []
    for number in range(1, PACK_ENTRIES + 2):
        packing.append(number, b"e")
        if packing.is_due():
            due.append((packing.first, len(packing.contents)))
            packing.given()
    assert due == [(1, count) for count in range(PACK_STEP, PACK_ENTRIES + 1, PACK_STEP)]
    assert (packing.first, len(packing.contents)) == (PACK_ENTRIES + 1, 1)
    packing.append(PACK_ENTRIES + 2, bytes(PACK_BYTES))
    assert packing.is_due()
    packing.given()
    assert packing.contents == []


def test_a_pack_that_cannot_be_written_is_part_of_the_next() -> None:
    storage = MemoryStorage()
    faulty = FaultyStorage(storage, script({0: FaultKind.BEFORE}), error=UnavailableError)
    compactor = Compactor(Snapshots(faulty, STATE), Packs(faulty, STATE), 0, FakeClock())
    for number in range(1, 2 * PACK_STEP + 1):
        compactor.add(number, b"e")
        compactor._thread.submit(lambda: None).result()
    compactor.close()
    assert pack_names(storage) == [(1, 2 * PACK_STEP)]
