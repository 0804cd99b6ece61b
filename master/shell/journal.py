"""The journal: a sequence of create-only objects that is the cluster's memory and its fence.

Whoever creates the next number is the master. A master takes over by creating an entry with an
`EpochTaken`, whose number is its epoch; from then on the next append of any former master finds its
number taken, and that master steps down. One append is in flight at a time, so entries have no
gaps, and all facts since the last append go together.

A snapshot (`snapshots`) stands for all entries up to its number, and these may be deleted; but
never one with an `EpochTaken`: the next append of a former master has to fail there. A pack
(`packs`) has copies of entries, for readers that begin.

Every method blocks; the shell calls them from one thread of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from mrcore.errors import AlreadyExistsError, NotFoundError, StorageError
from mrcore.master.core.durable import Durable
from mrcore.master.core.facts import EpochTaken, Fact
from mrcore.master.errors import FencedError
from mrcore.master.shell.entries import (
    FORMAT,
    UNKNOWN_EPOCH,
    Entry,
    GapError,
    JournalError,
    decode_entry,
    encode_entry,
    is_written_by,
    number_of,
)
from mrcore.master.shell.packs import LostPackError, PackName, Packs
from mrcore.master.shell.snapshots import Snapshot, Snapshots
from mrcore.model import object_names
from mrcore.storage.base import ABSENT, Storage
from mrcore.util.clock import Clock
from mrcore.util.decoding import UNREADABLE

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

_READERS: Final = 64
"""As many as connections to a bucket are kept: each read takes 20 to 100 ms there."""
WINDOW: Final = 256
"""Entries that are read ahead of the one being replayed, at most."""
WINDOW_BYTES: Final = 32 * 2**20
"""Bytes that are read ahead, at most: an entry may hold the results of thousands of tasks."""
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 2.0

T = TypeVar("T")


def _reader_threads() -> Executor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(_READERS, thread_name_prefix="replay")


class Replica(Protocol):
    """Receiver of a journal: a machine, or its durable half."""

    def restore(self, durable: Durable) -> None:
        """Take the state of a snapshot in place of all that was taken in before."""
        ...

    def apply(self, fact: Fact) -> None:
        """Take in one fact."""
        ...


class Journal:
    """The journal of one state, as one process reads and extends it."""

    def __init__(
        self,
        storage: Storage,
        state_uri: str,
        writer: str,
        clock: Clock,
        make_readers: Callable[[], Executor] | None = None,
    ) -> None:
        """Prepare; `make_readers` makes what reads entries ahead, by default threads."""
        self._make_readers = make_readers or _reader_threads
        self._storage = storage
        self._state_uri = state_uri
        self._writer = writer
        self._clock = clock
        self._epoch = 0
        self._number = 0
        self._begun = 0
        """Number of the snapshot that was read last."""
        self.since_snapshot = 0
        """Entries that were read, and lie after the newest snapshot that was."""
        self.snapshots = Snapshots(storage, state_uri)
        self.packs = Packs(storage, state_uri)

    @property
    def number(self) -> int:
        """Return the number of the newest entry that was read or appended here."""
        return self._number

    @property
    def epoch(self) -> int:
        """Return the epoch of the newest entry that was read or appended here."""
        return self._epoch

    @property
    def writer(self) -> str:
        """Return the token of this process."""
        return self._writer

    def replay(self) -> Iterator[Snapshot | Entry]:
        """Yield what follows what was already read, in order; raise JournalError for a gap.

        It begins with the newest snapshot. Another one comes between where entries vanish because a
        newer snapshot has taken their place.
        """
        pool = self._make_readers()
        packed = not self._number  # one that reads along has little to read
        try:
            if not self._number and (snapshot := self.snapshots.newest()) is not None:
                yield self._begin_at(snapshot)
            while True:
                try:
                    yield from self._entries(pool, self._packs() if packed else [])
                except LostPackError:
                    packed = False
                except GapError as gap:
                    # Perhaps older than what was read, of which the end may have been replaced.
                    newer = self.snapshots.newest(after=self._begun)
                    if newer is None:
                        raise self.snapshots.cause_of(gap) from None
                    yield self._begin_at(newer)
                else:
                    return
        finally:
            pool.shutdown(cancel_futures=True)

    def _packs(self) -> list[PackName]:
        return self.packs.after(self._number)

    def _begin_at(self, snapshot: Snapshot) -> Snapshot:
        self._number = self._begun = snapshot.number
        self.since_snapshot = 0
        self._epoch = snapshot.durable.epoch
        return snapshot

    def _entries(self, pool: Executor, packs: list[PackName]) -> Iterator[Entry]:
        for name, number, content in self._read_ahead(pool, packs):
            try:
                entry = self._decode(number, content)
                self._check(number, entry)
            except JournalError as error:
                if name.first == name.last:
                    raise
                raise self.packs.unfit(name, str(error)) from None
            if name.first < name.last and entry.epoch != self._epoch:
                raise self.packs.unfit(name, "It has another epoch.")
            self._take(number, entry)
            yield entry

    def _take(self, number: int, entry: Entry) -> None:
        self._number = number
        self._epoch = entry.epoch
        self.since_snapshot += 1

    def _read_ahead(
        self, pool: Executor, packs: list[PackName]
    ) -> Iterator[tuple[PackName, int, bytes]]:
        """Yield the entries that are listed, in order, while the next ones are being read.

        Each has the name of its object, its number and its content.

        The window slides: a slow read holds up what comes after it, but not the reading of it.
        """
        window: deque[tuple[PackName, Future[tuple[bytes, ...]]]] = deque()
        ahead_bytes = 0
        for name in self._to_read(packs):
            read = self._read_one if name.last == name.first else self.packs.read
            window.append((name, pool.submit(read, name)))
            ahead_bytes += name.size_bytes
            while len(window) >= WINDOW or (ahead_bytes > WINDOW_BYTES and len(window) > 1):
                ahead_bytes -= window[0][0].size_bytes
                yield from self._unpacked(*window.popleft())
        while window:  # popped first: what was read is not kept while it is replayed
            yield from self._unpacked(*window.popleft())

    def _to_read(self, packs: list[PackName]) -> Iterator[PackName]:
        """Yield the objects whose entries are all that are listed: packs, and entries beside them.

        An entry is named like a pack of one.
        """
        prefix = object_names.journal_prefix(self._state_uri)
        newest = object_names.journal_uri(self._state_uri, self._number)
        waiting, read_to = deque(packs), 0
        for info in self._storage.list(prefix, start_after=newest):
            number = number_of(info.uri, prefix, "journal entry")
            if number <= read_to:
                continue
            while waiting and waiting[0].last <= number:
                waiting.popleft()
            name = PackName(number, number, info.size_bytes)
            if waiting and waiting[0].first <= number:
                name = waiting.popleft()
            read_to = name.last
            yield name

    def _unpacked(
        self, name: PackName, reading: Future[tuple[bytes, ...]]
    ) -> Iterator[tuple[PackName, int, bytes]]:
        """Yield the entries of an object that was read, but for those that were known before."""
        for number, content in enumerate(reading.result(), start=name.first):
            if number > self._number or name.first == name.last:
                yield name, number, content

    def _check(self, number: int, entry: Entry) -> None:
        """Raise JournalError unless the entry can follow the one before it."""
        if number != self._number + 1:
            raise GapError(
                f"Entry {self._number + 1} of the journal is missing, and {number} is there. "
                f"Restore {object_names.journal_uri(self._state_uri, self._number + 1)}, "
                "or start a new --state."
            )
        if entry.after not in (UNKNOWN_EPOCH, self._epoch):
            # A start that was too slow has created the one before anew, after it was deleted.
            raise GapError(
                f"Entry {number - 1} of the journal was replaced: entry {number} follows epoch "
                f"{entry.after}, and not {self._epoch}. Restore "
                f"{object_names.journal_uri(self._state_uri, number - 1)}, or start a new --state."
            )
        if entry.epoch < self._epoch:
            # The one before may be of a master that was too late: it found the number of an entry
            # that a snapshot stands for.
            raise GapError(
                f"Entry {number} of the journal has epoch {entry.epoch}, after {self._epoch}: "
                f"{object_names.journal_prefix(self._state_uri)} has been tampered with."
            )

    def _read_one(self, name: PackName) -> tuple[bytes, ...]:
        """Return the content of an entry that has its own object."""
        uri = object_names.journal_uri(self._state_uri, name.first)
        try:
            return (self._storage.read(uri),)
        except NotFoundError:
            raise GapError(
                f"{uri} vanished while it was read: only a master may delete from the journal."
            ) from None

    def _decode(self, number: int, content: bytes) -> Entry:
        uri = object_names.journal_uri(self._state_uri, number)
        try:
            entry = decode_entry(content, self._state_uri)
        except UNREADABLE as error:
            raise JournalError(
                f"{uri} is damaged: it cannot be read as a journal entry ({error}). Restore it, or "
                "start a new --state."
            ) from None
        if entry.number != number:
            raise JournalError(f"{uri} says that it is entry {entry.number}: it was copied there.")
        return entry

    def take_over(self) -> Iterator[Snapshot | Entry]:
        """Replay, then make this process the master; yield all that is read, its own entry last.

        Other masters that start at the same time only delay this: each gets an epoch of its own.
        """
        while True:
            yield from self.replay()
            taken = self.claim()
            if taken is not None:
                yield taken
                return

    def claim(self) -> Entry | None:
        """Make this process the master, if it has read all entries; return its first entry.

        Return None where others were faster. What they have written is to be read then.
        """
        number = self._number + 1
        taken = EpochTaken(number, self._writer, self._clock.wall())
        entry = Entry(number, number, self._writer, (taken,), FORMAT, after=self._epoch)
        try:
            self._create(entry)
        except FencedError:
            return None
        if self._patiently(self.snapshots.newest_number) >= number:
            # Others have led meanwhile, and the number was free because they deleted its entry.
            self._number = self._epoch = self._begun = 0
            return None
        self._number = self._epoch = number
        return entry

    def next(self) -> Entry | None:
        """Read the entry after the newest one; return None where it is not there.

        That costs one read and no listing, so it suits a reader that waits. A snapshot may have
        taken the place of the entry: `replay` finds that.
        """
        number = self._number + 1
        try:
            (content,) = self._read_one(PackName(number, number))
            entry = self._decode(number, content)
            self._check(number, entry)
        except GapError:
            return None
        self._take(number, entry)
        return entry

    def newest_number(self) -> int:
        """Return the number of the newest entry that is there, as far as a listing shows."""
        prefix = object_names.journal_prefix(self._state_uri)
        newest = object_names.journal_uri(self._state_uri, self._number)
        listed = self._storage.list(prefix, start_after=newest)
        return max((number_of(info.uri, prefix, "journal entry") for info in listed), default=0)

    def feed(self, read: Snapshot | Entry, replica: Replica) -> None:
        """Have a replica take in what was read; raise JournalError for what does not fit."""
        if isinstance(read, Snapshot):
            replica.restore(read.durable)
            return
        for fact in read.facts:
            try:
                replica.apply(fact)
            except (AssertionError, LookupError) as error:
                uri = object_names.journal_uri(self._state_uri, read.number)
                raise JournalError(
                    f"Entry {read.number} of the journal does not follow from those before it "
                    f"({error!r} at {type(fact).__name__}). Restore {uri}, or start a new --state."
                ) from error

    def append(self, facts: Sequence[Fact]) -> bytes:
        """Make facts durable, all or none; return the entry's content, only when that is certain.

        Raises FencedError when another master has taken over, StorageError when the store refuses
        for good: the process must end then, since what it knows is ahead of the journal.
        """
        assert self._epoch, "append before take_over"
        number, epoch = self._number + 1, self._epoch
        entry = Entry(number, epoch, self._writer, tuple(facts), FORMAT, after=epoch)
        content = self._create(entry)
        self._number = entry.number
        return content

    def fenced(self) -> bool:
        """Return whether another process has written the next entry."""
        try:
            self._storage.stat(object_names.journal_uri(self._state_uri, self._number + 1))
        except NotFoundError:
            return False
        return True

    def _create(self, entry: Entry) -> bytes:
        """Create the entry's object, trying again with the same bytes while that may help.

        Returns its content.
        """
        uri = object_names.journal_uri(self._state_uri, entry.number)
        content = encode_entry(entry)

        def create() -> None:
            with self._storage.open_write(uri, expect=ABSENT, durable=True) as writer:
                writer.write(content)
                writer.commit()

        try:
            self._patiently(create)
        except AlreadyExistsError:
            if not self._is_ours(uri):
                raise FencedError(
                    f"Another master has written entry {entry.number} of {self._state_uri}: this "
                    "one has stepped down."
                ) from None
        return content

    def _is_ours(self, uri: str) -> bool:
        """Return whether an entry that exists was written by this process (its reply was lost)."""
        try:
            return is_written_by(self._patiently(lambda: self._storage.read(uri)), self._writer)
        except NotFoundError:
            return False  # deleted meanwhile, by a master that leads

    def _patiently(self, call: Callable[[], T]) -> T:
        """Return what a call of the store returns, trying again while that may help."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return call()
            except StorageError as error:
                if not error.retryable:
                    raise
            self._clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
