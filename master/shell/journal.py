"""The journal: a sequence of create-only objects that is the cluster's memory and its fence.

Whoever creates the next number is the master. A master takes over by creating an entry with an
`EpochTaken`, whose number is its epoch; from then on the next append of any former master finds its
number taken, and that master steps down. One append is in flight at a time, so entries have no
gaps, and all facts since the last append go together.

Every method blocks; the shell calls them from one thread of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from mrcore.errors import AlreadyExistsError, MrcoreError, NotFoundError, StorageError
from mrcore.master.core.facts import EpochTaken, Fact
from mrcore.master.errors import FencedError
from mrcore.model import object_names
from mrcore.storage.base import ABSENT, Storage
from mrcore.util.clock import Clock

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_READERS: Final = 64
"""As many as connections to a bucket are kept: each read takes 20 to 100 ms there."""
WINDOW: Final = 256
"""Entries that are read ahead of the one being replayed, at most."""
WINDOW_BYTES: Final = 32 * 2**20
"""Bytes that are read ahead, at most: an entry may hold the results of thousands of tasks."""
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 2.0


class JournalError(MrcoreError):
    """The journal has a gap, or an entry that cannot be read as one."""


class Entry(msgspec.Struct, frozen=True):
    """One object of the journal."""

    number: int
    epoch: int
    """Epoch of the master that wrote it."""
    writer: str
    """Random token of its process: an append whose reply was lost is recognised by it."""
    facts: tuple[Fact, ...]
    format: int = 1
    """Format of the facts; entries of the first format do not say it."""


class _Head(msgspec.Struct, frozen=True):
    """The part of an entry that can be read whatever its format."""

    number: int
    format: int = 1


_DECODER: Final = msgspec.json.Decoder(Entry)
_HEAD_DECODER: Final = msgspec.json.Decoder(_Head)
_ENCODER: Final = msgspec.json.Encoder()
FORMAT: Final = 3
"""Format of the facts that this version writes, and the only one that it reads: a fact that is
changed or goes needs a new number."""


class Journal:
    """The journal of one state, as one process reads and extends it."""

    def __init__(self, storage: Storage, state_uri: str, writer: str, clock: Clock) -> None:
        self._storage = storage
        self._state_uri = state_uri
        self._writer = writer
        self._clock = clock
        self._epoch = 0
        self._number = 0

    @property
    def number(self) -> int:
        """Return the number of the newest entry that was read or appended here."""
        return self._number

    @property
    def writer(self) -> str:
        """Return the token of this process."""
        return self._writer

    def replay(self) -> Iterator[Entry]:
        """Yield the entries after those already read, in order; raise JournalError for a gap."""
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(_READERS, thread_name_prefix="replay")
        try:
            for number, entry in self._read_ahead(pool):
                self._check(number, entry)
                self._number = number
                self._epoch = entry.epoch
                yield entry
        finally:
            pool.shutdown(cancel_futures=True)

    def _read_ahead(self, pool: ThreadPoolExecutor) -> Iterator[tuple[int, Entry]]:
        """Yield the entries that are listed, in order, while the next ones are being read.

        The window slides: a slow read holds up what comes after it, but not the reading of it.
        """
        prefix = object_names.journal_prefix(self._state_uri)
        window: deque[tuple[int, int, Future[Entry]]] = deque()
        ahead_bytes = 0
        newest = self._number
        for info in self._storage.list(prefix):
            number = _number_of(info.uri, prefix)
            if number <= newest:
                continue
            window.append((number, info.size_bytes, pool.submit(self._read, number)))
            ahead_bytes += info.size_bytes
            while len(window) >= WINDOW or (ahead_bytes > WINDOW_BYTES and len(window) > 1):
                first, size_bytes, reading = window.popleft()
                ahead_bytes -= size_bytes
                yield first, reading.result()
        while window:  # popped first: what was read is not kept while it is replayed
            first, _, reading = window.popleft()
            yield first, reading.result()

    def _check(self, number: int, entry: Entry) -> None:
        """Raise JournalError unless the entry can follow the one before it."""
        if number != self._number + 1:
            raise JournalError(
                f"Entry {self._number + 1} of the journal is missing, and {number} is there. "
                f"Restore {object_names.journal_uri(self._state_uri, self._number + 1)}, "
                "or start a new --state."
            )
        if entry.epoch < self._epoch:
            raise JournalError(
                f"Entry {number} of the journal has epoch {entry.epoch}, after {self._epoch}: "
                f"{object_names.journal_prefix(self._state_uri)} has been tampered with."
            )

    def _read(self, number: int) -> Entry:
        uri = object_names.journal_uri(self._state_uri, number)
        try:
            entry = self._decoded(self._storage.read(uri))
        except NotFoundError:
            raise JournalError(
                f"{uri} vanished while it was read: nothing may delete from the journal."
            ) from None
        except msgspec.MsgspecError:
            raise JournalError(
                f"{uri} is damaged: it cannot be read as a journal entry. Restore it, or start a "
                "new --state."
            ) from None
        if entry.number != number:
            raise JournalError(f"{uri} says that it is entry {entry.number}: it was copied there.")
        return entry

    def _decoded(self, content: bytes) -> Entry:
        """Return the entry in an object.

        Raises JournalError for an entry of another version, MsgspecError for damaged bytes.
        """
        try:
            entry = _DECODER.decode(content)
        except msgspec.ValidationError:
            _HEAD_DECODER.decode(content)
            raise self._written_elsewhere() from None  # an entry, with facts unknown here
        if entry.format != FORMAT:
            raise self._written_elsewhere()
        return entry

    def _written_elsewhere(self) -> JournalError:
        return JournalError(
            f"The journal of {object_names.shown(self._state_uri)} was written by another version "
            "of mrcore. Finish its jobs with that version, or start a new --state."
        )

    def take_over(self) -> Iterator[Entry]:
        """Replay, then make this process the master; yield every entry, its own last.

        Other masters that start at the same time only delay this: each gets an epoch of its own.
        """
        while True:
            yield from self.replay()
            number = self._number + 1
            taken = EpochTaken(number, self._writer, self._clock.wall())
            entry = Entry(number, number, self._writer, (taken,), FORMAT)
            try:
                self._create(entry)
            except FencedError:
                continue  # that number is another's: learn what it says, then take the next
            self._number = self._epoch = number
            yield entry
            return

    def apply(self, entry: Entry, take: Callable[[Fact], None]) -> None:
        """Have the facts of an entry taken in; raise JournalError for one that does not fit."""
        for fact in entry.facts:
            try:
                take(fact)
            except (AssertionError, LookupError) as error:
                uri = object_names.journal_uri(self._state_uri, entry.number)
                raise JournalError(
                    f"Entry {entry.number} of the journal does not follow from those before it "
                    f"({error!r} at {type(fact).__name__}). Restore {uri}, or start a new --state."
                ) from error

    def append(self, facts: Sequence[Fact]) -> None:
        """Make facts durable, all or none; return only when that is certain.

        Raises FencedError when another master has taken over, StorageError when the store refuses
        for good: the process must end then, since what it knows is ahead of the journal.
        """
        assert self._epoch, "append before take_over"
        entry = Entry(self._number + 1, self._epoch, self._writer, tuple(facts), FORMAT)
        self._create(entry)
        self._number = entry.number

    def fenced(self) -> bool:
        """Return whether another process has written the next entry."""
        try:
            self._storage.stat(object_names.journal_uri(self._state_uri, self._number + 1))
        except NotFoundError:
            return False
        return True

    def _create(self, entry: Entry) -> None:
        """Create the entry's object, trying again with the same bytes while that may help."""
        uri = object_names.journal_uri(self._state_uri, entry.number)
        content = _ENCODER.encode(entry)
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                with self._storage.open_write(uri, expect=ABSENT, durable=True) as writer:
                    writer.write(content)
                    writer.commit()
                return
            except AlreadyExistsError:
                if self._is_ours(uri):
                    return
                raise FencedError(
                    f"Another master has written entry {entry.number} of {self._state_uri}: this "
                    "one has stepped down."
                ) from None
            except StorageError as error:
                if not error.retryable:
                    raise
            self._clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _is_ours(self, uri: str) -> bool:
        """Return whether an entry that exists was written by this process (its reply was lost)."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return _DECODER.decode(self._storage.read(uri)).writer == self._writer
            except msgspec.MsgspecError:
                return False
            except StorageError as error:
                if not error.retryable:
                    raise
            self._clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _number_of(uri: str, prefix: str) -> int:
    name = uri.removeprefix(prefix)
    if len(name) != 20 or not (name.isascii() and name.isdigit()):
        raise JournalError(f"{uri} is not a journal entry. Remove it.")
    return int(name)
