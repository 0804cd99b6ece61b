"""The journal: durable, in order, and written by one master at a time, whatever the store does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcore import errors
from mrcore.master.core.facts import CancelRequested, EpochTaken, Fact, JobEnded
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.errors import FencedError
from mrcore.master.shell.entries import Entry, JournalError
from mrcore.master.shell.journal import Journal
from mrcore.model import object_names
from mrcore.model.job import JobState
from mrcore.storage.base import Storage
from mrcore.storage.faulty import FaultKind, FaultyStorage, random_faults, script
from mrcore.storage.memory import MemoryStorage
from tests.support.fake_clock import FakeClock
from tests.support.journals import cancelled, history_of

STATE = "mem://space/state"
EMPTY = b'{"number":%d,"epoch":%d,"writer":"w","facts":[],"format":3}'


def start(storage: Storage, writer: str = "w") -> Journal:
    """Return the journal of a process that has taken over."""
    journal = Journal(storage, STATE, writer, FakeClock())
    for _ in journal.take_over():
        pass
    return journal


def history(storage: Storage) -> list[Entry]:
    return history_of(storage, STATE)


def test_facts_come_back_in_order() -> None:
    storage = MemoryStorage()
    journal = start(storage)
    groups: list[list[Fact]] = [[cancelled("a"), cancelled("b")], [], [cancelled("c")]]
    for group in groups:
        journal.append(group)
    first, *rest = history(storage)
    assert isinstance(first.facts[0], EpochTaken)
    assert [list(entry.facts) for entry in rest] == groups
    assert [entry.number for entry in (first, *rest)] == [1, 2, 3, 4]


def test_every_start_takes_an_epoch_of_its_own() -> None:
    storage = MemoryStorage()
    start(storage, "one").append([cancelled("a")])
    start(storage, "two")
    entries = history(storage)
    assert [(entry.epoch, entry.writer) for entry in entries] == [
        (1, "one"),
        (1, "one"),
        (3, "two"),
    ]
    taken = entries[2].facts[0]
    assert isinstance(taken, EpochTaken)
    assert (taken.epoch, taken.writer) == (3, "two")


def test_a_former_master_is_fenced_for_ever() -> None:
    storage = MemoryStorage()
    old = start(storage, "old")
    assert not old.fenced()
    new = start(storage, "new")
    assert old.fenced()
    for _ in range(2):
        with pytest.raises(FencedError, match="stepped down"):
            old.append([cancelled("lost")])
    new.append([cancelled("kept")])
    with pytest.raises(FencedError):
        old.append([cancelled("lost")])
    assert not new.fenced()
    assert [entry.writer for entry in history(storage)] == ["old", "new", "new"]


def test_a_lost_reply_is_recognised_as_ones_own() -> None:
    storage = MemoryStorage()
    journal = start(storage)
    lossy = FaultyStorage(storage, script({0: FaultKind.AFTER}))
    journal._storage = lossy
    journal.append([cancelled("a")])
    journal.append([cancelled("b")])
    assert [entry.number for entry in history(storage)] == [1, 2, 3]


def test_a_lost_reply_of_another_master_is_not_ones_own() -> None:
    storage = MemoryStorage()
    old = start(storage, "old")

    def usurp(operation: str, uri: str) -> None:
        if operation == "commit" and history(storage)[-1].writer != "new":
            start(storage, "new")

    # The first try reaches nobody, the second finds the other's entry.
    old._storage = FaultyStorage(storage, script({0: FaultKind.BEFORE}), hook=usurp)
    with pytest.raises(FencedError):
        old.append([cancelled("a")])
    assert [entry.writer for entry in history(storage)] == ["old", "new"]


def test_a_store_that_refuses_for_good_ends_the_append() -> None:
    storage = MemoryStorage()
    journal = start(storage)
    journal._storage = FaultyStorage(
        storage, script({0: FaultKind.BEFORE}), error=errors.DiskFullError
    )
    with pytest.raises(errors.DiskFullError):
        journal.append([cancelled("a")])
    assert len(history(storage)) == 1


@given(st.integers(0, 2**32), st.integers(1, 12))
@settings(max_examples=60)
def test_an_append_that_returns_is_there_once(seed: int, count: int) -> None:
    storage = MemoryStorage()
    rates = {"*": {FaultKind.BEFORE: 0.25, FaultKind.AFTER: 0.25}}
    journal = Journal(
        FaultyStorage(storage, random_faults(Random(seed), {"commit": rates["*"]})),
        STATE,
        "w",
        FakeClock(),
    )
    for _ in journal.take_over():
        pass
    for number in range(count):
        journal.append([cancelled(f"job-{number}")])
    facts = [fact for entry in history(storage) for fact in entry.facts][1:]
    assert facts == [cancelled(f"job-{number}") for number in range(count)]


def test_two_masters_that_race_share_no_entry() -> None:
    storage = MemoryStorage()
    appended: dict[str, list[str]] = {"one": [], "two": []}
    gate = threading.Barrier(2)

    def master(name: str) -> None:
        gate.wait()
        for life in range(20):
            journal = start(storage, f"{name}-{life}")
            try:
                for number in range(5):
                    fact = f"{name}-{life}-{number}"
                    journal.append([cancelled(fact)])
                    appended[name].append(fact)
            except FencedError:
                continue

    threads = [threading.Thread(target=master, args=(name,)) for name in appended]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = history(storage)
    epochs = {entry.epoch: entry.writer for entry in entries}
    # An epoch has one writer, and nobody writes below a later epoch.
    assert all(epochs[entry.epoch] == entry.writer for entry in entries)
    assert [entry.epoch for entry in entries] == sorted(entry.epoch for entry in entries)
    written = [
        fact.job_id for e in entries for fact in e.facts if isinstance(fact, CancelRequested)
    ]
    assert sorted(written) == sorted(appended["one"] + appended["two"])


def put(storage: Storage, uri: str, content: bytes) -> None:
    with storage.open_write(uri) as writer:
        writer.write(content)
        writer.commit()


def test_a_gap_is_an_error_and_not_the_end() -> None:
    storage = MemoryStorage()
    journal = start(storage)
    for _ in range(300):
        journal.append([])
    storage.delete(object_names.journal_uri(STATE, 200))
    with pytest.raises(JournalError, match="Entry 200 of the journal is missing, and 201 is there"):
        history(storage)


class ReadStorage(MemoryStorage):
    """Calls `on_read` with the number of each entry that is to be read."""

    def __init__(self) -> None:
        super().__init__()
        self.on_read: Callable[[int], None] = lambda number: None

    def read(
        self, uri: str, start: int = 0, end: int | None = None, *, generation: str | None = None
    ) -> bytes:
        self.on_read(int(uri.rpartition("/")[2]))
        return super().read(uri, start, end, generation=generation)


def test_a_slow_read_does_not_hold_up_the_reading_of_what_follows() -> None:
    storage = ReadStorage()
    journal = start(storage)
    for _ in range(600):
        journal.append([])
    ahead = threading.Event()

    def on_read(number: int) -> None:
        if number == 300:
            assert ahead.wait(10), "entry 500 is read while entry 300 is on its way"
        elif number == 500:
            ahead.set()

    storage.on_read = on_read
    assert [entry.number for entry in history(storage)] == list(range(1, 602))


def test_large_entries_are_read_ahead_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = ReadStorage()
    journal = start(storage)
    for _ in range(100):
        journal.append([cancelled("x" * 1_000)])
    monkeypatch.setattr("mrcore.master.shell.journal.WINDOW_BYTES", 10_000)
    begun = 0

    def on_read(number: int) -> None:
        nonlocal begun
        begun = max(begun, number)

    storage.on_read = on_read
    ahead = [begun - entry.number for entry in Journal(storage, STATE, "r", FakeClock()).replay()]
    assert len(ahead) == 101
    assert max(ahead) <= 10


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (f"{2:020d}", b"not json", "0002 is damaged: .* Restore it"),
        (f"{2:020d}", b"{}", "0002 is damaged"),
        (f"{2:020d}", b"[3]", "0002 is damaged"),
        (
            f"{2:020d}",
            b'{"number":3,"epoch":1,"writer":"w","facts":[],"format":3}',
            "says that it is entry 3",
        ),
        (
            f"{2:020d}",
            b'{"number":2,"epoch":0,"writer":"w","facts":[],"format":3}',
            "has epoch 0, after 1",
        ),
        (
            f"{2:020d}",
            b'{"number":2,"epoch":1,"writer":"w","facts":[{"type":"x"}],"format":3}',
            "was written by another version",
        ),
        ("readme", b"", "Remove it"),
        ("2", b"", "Remove it"),
    ],
)
def test_what_is_no_entry_is_named(name: str, content: bytes, words: str) -> None:
    storage = MemoryStorage()
    start(storage)
    put(storage, object_names.journal_prefix(STATE) + name, content)
    with pytest.raises(JournalError, match=words):
        history(storage)


def test_an_entry_of_yesterday_can_be_read() -> None:
    storage = MemoryStorage()
    start(storage)
    # Written by hand, as an older version did: fields that came later have their defaults.
    content = (
        b'{"number":2,"epoch":1,"writer":"w","facts":'
        b'[{"type":"job_ended","job_id":"a","state":"cancelled"}],"format":3}'
    )
    put(storage, object_names.journal_uri(STATE, 2), content)
    assert history(storage)[1].facts == (JobEnded(job_id="a", state=JobState.CANCELLED),)


@pytest.mark.parametrize(
    ("facts", "format_"),
    [
        (b'{"type":"epoch_taken","epoch":1,"writer":"w","wall_seconds":1.0}', b""),
        (b'{"type":"reduces_revoked","job_id":"a","inputs_version":1}', b""),
        (b'{"type":"job_planned","job_id":"a","splits":3}', b',"format":3'),
    ],
    ids=["readable", "unknown", "other-fields"],
)
def test_a_journal_of_another_version_is_refused(facts: bytes, format_: bytes) -> None:
    storage = MemoryStorage()
    content = b'{"number":1,"epoch":1,"writer":"w","facts":[' + facts + b"]" + format_ + b"}"
    put(storage, object_names.journal_uri(STATE, 1), content)
    with pytest.raises(JournalError) as refused:
        start(storage)
    assert str(refused.value) == (
        f"The journal of {object_names.shown(STATE)} was written by another version of mrcore. "
        "Finish its jobs with that version, or start a new --state."
    )
    assert len(list(storage.list(object_names.journal_prefix(STATE)))) == 1, "nothing was written"


def test_an_entry_that_does_not_follow_is_named() -> None:
    storage = MemoryStorage()
    start(storage).append([cancelled("a job that nobody has submitted")])
    machine = Machine(Limits(), Random(0))
    journal = Journal(storage, STATE, "r", FakeClock())
    first, second = journal.replay()
    journal.feed(first, machine)
    with pytest.raises(JournalError, match=r"Entry 2 of the journal does not follow .* Restore"):
        journal.feed(second, machine)
