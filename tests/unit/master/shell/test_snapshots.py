"""Snapshots: a start from one gives the state that the whole journal gives, whatever is deleted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from random import Random

import msgspec
import pytest

from mrcore.errors import UnavailableError
from mrcore.master.core.compaction import ENTRIES_MAX, ENTRIES_MIN, Compaction
from mrcore.master.core.durable import Durable
from mrcore.master.core.facts import (
    CancelRequested,
    EpochTaken,
    JobEnded,
)
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.errors import FencedError
from mrcore.master.shell.compactor import RETRY_SECONDS, Compactor
from mrcore.master.shell.entries import Entry, JournalError
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.packs import Packs
from mrcore.master.shell.snapshots import FORMAT, Snapshot, Snapshots, encode_snapshot
from mrcore.model import object_names
from mrcore.model.job import JobState
from mrcore.storage.base import ObjectInfo, Storage
from mrcore.storage.faulty import FaultKind, FaultyStorage, script
from mrcore.storage.memory import MemoryStorage
from tests.support.fake_clock import FakeClock
from tests.support.journals import STATE, Master, job


def without_epochs(durable: Durable) -> dict[str, object]:
    return {**msgspec.structs.asdict(durable), "epoch": 0, "epochs": []}


def entries(storage: Storage) -> list[int]:
    prefix = object_names.journal_prefix(STATE)
    return [int(info.uri.removeprefix(prefix)) for info in storage.list(prefix)]


def snapshots(storage: Storage) -> list[int]:
    prefix = object_names.snapshots_prefix(STATE)
    return [int(info.uri.removeprefix(prefix)) for info in storage.list(prefix)]


def test_a_start_from_any_snapshot_gives_the_same_state() -> None:
    storage = MemoryStorage()
    master = Master(storage)
    for name, end in [("a", JobState.CANCELLED), ("b", None), ("c", JobState.FAILED), ("d", None)]:
        for fact in job(name, end):
            master.append(fact)
            master.snapshot()
    whole = Durable()
    for fact in (fact for entry in master_entries(storage) for fact in entry.facts):
        whole.apply(fact, Limits())
    for number in snapshots(storage):
        copy = MemoryStorage()
        for info in [
            *storage.list(object_names.journal_prefix(STATE)),
            storage.stat(object_names.snapshot_uri(STATE, number)),
        ]:
            put(copy, info.uri, storage.read(info.uri))
        again = Master(copy)
        first = again.read[0]
        assert isinstance(first, Snapshot)
        assert first.number == number
        assert without_epochs(again.durable) == without_epochs(whole)
        assert again.durable.epochs == [1, again.durable.epoch]


def master_entries(storage: Storage) -> list[Entry]:
    prefix = object_names.journal_prefix(STATE)
    return [
        msgspec.json.decode(storage.read(info.uri), type=Entry) for info in storage.list(prefix)
    ]


def put(storage: Storage, uri: str, content: bytes) -> None:
    with storage.open_write(uri) as writer:
        writer.write(content)
        writer.commit()


def test_entries_go_once_two_snapshots_stand_for_them_but_never_an_epoch() -> None:
    storage = MemoryStorage()
    Master(storage, "first").append(*job("a"))
    master = Master(storage, "second")
    master.append(*job("b"))
    master.snapshot()  # after entry 4
    assert master.compact() == 0
    assert entries(storage) == [1, 2, 3, 4]
    master.append(*job("c"))
    master.append(CancelRequested("c", "enough"))
    master.snapshot()  # after entry 6
    master.compact()
    assert entries(storage) == [1, 3, 5, 6]
    master.append(JobEnded(job_id="c", state=JobState.CANCELLED))
    master.snapshot()  # after entry 7
    master.compact()
    assert (entries(storage), snapshots(storage)) == ([1, 3, 7], [6, 7])
    again = Master(storage, "third")
    assert [type(read) for read in again.read] == [Snapshot, Entry]
    assert without_epochs(again.durable) == without_epochs(master.durable)
    assert again.durable.epochs == [1, 3, 8]


def test_a_former_master_stays_fenced_when_its_next_number_is_long_past() -> None:
    storage = MemoryStorage()
    old = Master(storage, "old")
    new = Master(storage, "new")
    for name in "abcdef":
        new.append(*job(name))
        new.snapshot()
        new.compact()
    assert old.journal.fenced()
    with pytest.raises(FencedError):
        old.append(*job("lost"))


def test_a_former_master_that_compacts_late_leaves_the_epochs_of_others() -> None:
    storage = MemoryStorage()
    old = Master(storage, "old")
    old.append(*job("a"))
    old.snapshot()
    known, epochs = old.journal.number, list(old.durable.epochs)
    new = Master(storage, "new")
    for name in "bcd":
        new.append(*job(name))
        new.snapshot()
    old.journal.snapshots.delete_covered(epochs, known)
    assert entries(storage) == [1, 3, 4, 5, 6], "entry 3 took an epoch, and old has not read it"
    with pytest.raises(FencedError):
        old.append(*job("lost"))


def test_a_slow_start_does_not_lead_with_a_number_that_was_deleted() -> None:
    storage = MemoryStorage()
    Master(storage, "first").append(*job("a"))

    def meanwhile(operation: str, uri: str) -> None:
        if operation != "commit" or "journal" not in uri or entries(storage)[-1] > 2:
            return
        other = Master(storage, "other")
        for name in "bcde":
            other.append(*job(name))
        leave = Master(storage, "next")
        for name in "fg":
            leave.append(*job(name))
            leave.snapshot()
            leave.compact()
        # As if the other had been a plain entry: a start that is slower still finds it free.
        storage.delete(object_names.journal_uri(STATE, 3))

    slow = Master(FaultyStorage(storage, script({}), hook=meanwhile), "slow")
    assert entries(storage)[-1] == slow.durable.epoch == slow.journal.number == 11
    assert set(slow.durable.jobs) == set("abcdefg")
    assert not slow.journal.fenced()
    slow.append(*job("h"))


def test_a_reader_does_not_go_on_after_an_entry_that_a_slow_start_made_anew() -> None:
    storage = MemoryStorage()
    first = Master(storage, "first")
    slow = Journal(storage, STATE, "slow", FakeClock())
    list(slow.replay())
    first.append(*job("a"))
    masters: list[Master] = []

    def meanwhile(operation: str, uri: str) -> None:
        if operation != "list" or "journal" not in uri or masters:
            return
        masters.append(Master(storage, "second"))
        first.snapshot()  # after entry 2
        masters[0].append(*job("b"))
        masters[0].snapshot()  # after entry 4
        assert masters[0].compact() == 1
        assert slow.claim() is None
        assert entries(storage) == [1, 2, 3, 4]
        assert b"slow" in storage.read(object_names.journal_uri(STATE, 2))

    reader = Journal(FaultyStorage(storage, script({}), hook=meanwhile), STATE, "r", FakeClock())
    machine = Machine(Limits(), Random(1))
    for read in reader.replay():
        reader.feed(read, machine)
    assert machine.cluster.durable == masters[0].durable
    assert set(machine.cluster.durable.jobs) == {"a", "b"}


def test_a_reader_whose_entries_vanish_goes_on_at_a_newer_snapshot() -> None:
    storage = MemoryStorage()
    master = Master(storage)
    for name in "abc":
        master.append(*job(name))
    compacted = False

    def meanwhile(operation: str, uri: str) -> None:
        nonlocal compacted
        if operation == "read" and uri == object_names.journal_uri(STATE, 2) and not compacted:
            compacted = True
            master.snapshot()
            master.append(*job("d"))
            master.snapshot()
            master.append(*job("e"))
            master.compact()

    reader = Journal(FaultyStorage(storage, script({}), hook=meanwhile), STATE, "r", FakeClock())
    machine = Machine(Limits(), Random(1))
    kinds = []
    for read in reader.replay():
        kinds.append(type(read))
        reader.feed(read, machine)
    assert compacted
    assert kinds.count(Snapshot) == 1
    assert machine.cluster.durable == master.durable


def test_a_gap_that_no_snapshot_explains_is_an_error() -> None:
    storage = MemoryStorage()
    master = Master(storage)
    master.append(*job("a"))
    master.snapshot()
    for name in "bc":
        master.append(*job(name))
    storage.delete(object_names.journal_uri(STATE, 3))
    with pytest.raises(JournalError, match="Entry 3 of the journal is missing, and 4 is there"):
        Master(storage)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",
        msgspec.msgpack.encode([1, 2]),
        encode_snapshot(3, Durable()),
        encode_snapshot(4, Durable())[:-1],
        msgspec.msgpack.encode({"format": FORMAT, "number": 4, "durable": {"epoch": "x"}}),
    ],
)
def test_the_older_snapshot_is_read_where_the_newest_is_damaged(
    content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    storage = MemoryStorage()
    master = Master(storage)
    for name in "abc":
        master.append(*job(name))
        master.snapshot()
    master.compact()
    put(storage, object_names.snapshot_uri(STATE, 4), content)
    with caplog.at_level(logging.WARNING, "mrcore.master"):
        again = Master(storage)
    assert without_epochs(again.durable) == without_epochs(master.durable)
    assert "is damaged; an older one is read" in caplog.text


@pytest.mark.parametrize("durable", [{}, {"jobs": 3}])
def test_a_snapshot_of_another_version_is_refused(durable: dict[str, int]) -> None:
    storage = MemoryStorage()
    Master(storage).append(*job("a"))
    later = {"format": FORMAT + 1, "number": 2, "durable": durable}
    put(storage, object_names.snapshot_uri(STATE, 2), msgspec.msgpack.encode(later))
    with pytest.raises(JournalError, match="was written by another version of mrcore"):
        Master(storage)
    assert entries(storage) == [1, 2], "nothing was written"


def test_another_name_among_the_snapshots_is_named() -> None:
    storage = MemoryStorage()
    put(storage, object_names.snapshots_prefix(STATE) + "readme", b"")
    with pytest.raises(JournalError, match=r"readme is not a snapshot\. Remove it"):
        Master(storage)


def test_the_pace_follows_the_sizes() -> None:
    pace = Compaction()
    for _ in range(ENTRIES_MIN - 1):
        pace.append(10)
        assert not pace.is_due(idle=True)
    pace.append(10)
    assert pace.is_due(idle=False)
    pace.restart(snapshot_bytes=100 * ENTRIES_MIN)
    for number in range(1, ENTRIES_MAX + 1):
        pace.append(10)
        assert pace.is_due(idle=True) == (number >= ENTRIES_MIN)
        assert pace.is_due(idle=False) == (number >= 10 * ENTRIES_MIN)
    pace.restart(snapshot_bytes=10**9)
    for number in range(1, ENTRIES_MAX + 1):
        pace.append(10)
        assert pace.is_due(idle=False) == (number >= ENTRIES_MAX)


@pytest.fixture
def compactor() -> Iterator[Callable[[Storage, FakeClock], Compactor]]:
    made: list[Compactor] = []

    def make(storage: Storage, clock: FakeClock) -> Compactor:
        made.append(Compactor(Snapshots(storage, STATE), Packs(storage, STATE), ENTRIES_MIN, clock))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_snapshot_that_cannot_be_written_is_tried_again_later(
    compactor: Callable[[Storage, FakeClock], Compactor],
) -> None:
    storage, clock = MemoryStorage(), FakeClock()
    faulty = FaultyStorage(storage, script({0: FaultKind.BEFORE}), error=UnavailableError)
    one = compactor(faulty, clock)
    draft = one.encode_if_due(64, Durable(), idle=False)
    assert draft is not None
    one.write(draft)
    asyncio.run(one.finish(20))
    assert snapshots(storage) == []
    for number in range(65, 65 + ENTRIES_MIN):
        one.add(number, b"e")
        assert one.encode_if_due(number, Durable(), idle=True) is None
    clock.advance(RETRY_SECONDS)
    draft = one.encode_if_due(128, Durable(), idle=True)
    assert draft is not None
    one.write(draft)
    asyncio.run(one.finish(20))
    assert snapshots(storage) == [128]


def test_a_start_from_a_snapshot_lists_only_what_comes_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = MemoryStorage()
    master = Master(storage)
    for name in "abcd":
        master.append(*job(name))
        master.snapshot()
    listed: list[ObjectInfo] = []
    whole = storage.list

    def listing(prefix: str, **options: object) -> Iterator[ObjectInfo]:
        for info in whole(prefix, **options):  # type: ignore[arg-type]
            listed.append(info)
            yield info

    monkeypatch.setattr(storage, "list", listing)
    Master(storage)
    assert not [info for info in listed if "/journal/" in info.uri]


def test_an_epoch_in_a_snapshot_counts() -> None:
    storage = MemoryStorage()
    master = Master(storage)
    assert isinstance(master_entries(storage)[0].facts[0], EpochTaken)
    master.append(*job("a"))
    master.snapshot()
    assert Master(storage).durable.epochs == [1, 3]
