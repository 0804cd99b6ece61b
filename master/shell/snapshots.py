"""Snapshots: the durable state after an entry of the journal, so that a start reads little.

Snapshot n is the state after the entries 1 to n and nothing more, whoever writes it. So it is right
to the last byte even where its writer was replaced meanwhile. The entries up to the second newest
snapshot are deleted, but for those that took an epoch. The two newest snapshots are kept, so that
one that is damaged does not end the state. A snapshot has a checksum (`seals`).

Every method blocks.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Collection, Iterator
from typing import Final

import msgspec

from mrcore.errors import AlreadyExistsError, NotFoundError
from mrcore.master.core import durable_calls
from mrcore.master.core.durable import Durable
from mrcore.master.shell.deletions import delete_each
from mrcore.master.shell.entries import JournalError, number_of, written_elsewhere
from mrcore.master.shell.seals import is_sealed_msgpack, seal_msgpack
from mrcore.model import object_names
from mrcore.storage.base import ABSENT, ObjectInfo, Storage
from mrcore.util.decoding import UNREADABLE

log = logging.getLogger("mrcore.master")

FORMAT: Final = 3
"""Format of the snapshots that this version writes."""
WHOLE_FORMAT: Final = 2
"""Format of snapshots with a task for each call that is over, which this version reads too."""
UNSEALED_FORMAT: Final = 1
"""Format of such snapshots without a checksum, which this version reads too."""
_FORMATS: Final = (FORMAT, WHOLE_FORMAT, UNSEALED_FORMAT)
KEPT: Final = 2
"""Snapshots that are kept: the newest."""
_TRIES: Final = 10
"""Looks at the snapshots, in case that the newest is replaced between a look and its reading."""


class Snapshot(msgspec.Struct, frozen=True):
    """One object of the snapshots."""

    format: int
    number: int
    """Number of the newest entry whose facts are in it."""
    durable: Durable


class _Head(msgspec.Struct, frozen=True):
    """The part of a snapshot that can be read whatever its format."""

    format: int
    number: int


_DECODER: Final = msgspec.msgpack.Decoder(Snapshot)
_HEAD_DECODER: Final = msgspec.msgpack.Decoder(_Head)
_ENCODER: Final = msgspec.msgpack.Encoder()


def encode_snapshot(number: int, durable: Durable) -> bytes:
    """Return the content of the snapshot of a state, which entry `number` has made."""
    jobs = {name: durable_calls.packed(job) for name, job in durable.jobs.items()}
    stored = msgspec.structs.replace(durable, jobs=jobs)
    return seal_msgpack(_ENCODER.encode(Snapshot(FORMAT, number, stored)))


def decode_snapshot(content: bytes, state_uri: str) -> Snapshot:
    """Return the snapshot in an object of a state.

    Raises one of UNREADABLE for damaged bytes, and JournalError for those of another version.
    """
    is_sealed = is_sealed_msgpack(content)
    try:
        snapshot = _DECODER.decode(content)
    except msgspec.ValidationError:
        if _HEAD_DECODER.decode(content).format not in _FORMATS:
            raise written_elsewhere(state_uri) from None
        raise
    if snapshot.format not in _FORMATS:
        raise written_elsewhere(state_uri)
    if snapshot.format != UNSEALED_FORMAT and not is_sealed:
        raise msgspec.ValidationError("its checksum is missing")
    try:
        for job in snapshot.durable.jobs.values():
            durable_calls.unpack(job)
    except ValueError as error:
        raise msgspec.ValidationError(str(error)) from None
    return snapshot


class Snapshots:
    """The snapshots of one state."""

    def __init__(self, storage: Storage, state_uri: str) -> None:
        self._storage = storage
        self._state_uri = state_uri
        self._damaged = ""
        """URI of the newest one that is damaged, until an older one is read in its place."""

    def newest_number(self) -> int:
        """Return the number of the newest snapshot; 0 where there is none."""
        return max(self._numbers(), default=0)

    def newest(self, after: int = 0) -> Snapshot | None:
        """Return the newest snapshot that can be read, if one has a number above `after`.

        Raises JournalError for one of another version.
        """
        for _ in range(_TRIES):
            numbers = sorted((n for n in self._numbers() if n > after), reverse=True)
            try:
                return next((read for n in numbers if (read := self._read(n)) is not None), None)
            except NotFoundError:
                continue  # newer ones have taken its place
        raise JournalError(
            f"The snapshots of {object_names.shown(self._state_uri)} change faster than they can "
            "be read. Try again."
        )

    def cause_of(self, gap: JournalError) -> JournalError:
        """Return why entries are missing: what stood for them is damaged, or the gap itself."""
        if not self._damaged:
            return gap
        return JournalError(
            f"{self._damaged} is damaged, and no older snapshot can be read in its place. "
            "Restore it, or start a new --state."
        )

    def write(self, number: int, content: bytes) -> None:
        """Store a snapshot; it may be there already, and is the same then."""
        uri = object_names.snapshot_uri(self._state_uri, number)
        try:
            with self._storage.open_write(uri, expect=ABSENT, durable=True, private=True) as writer:
                writer.write(content)
                writer.commit()
        except AlreadyExistsError:
            pass

    def delete_covered(self, epochs: Collection[int], known_to: int) -> int:
        """Delete what the kept snapshots stand for; return the number of objects.

        `epochs` are the numbers of all entries up to `known_to` that took an epoch.
        """
        # Entries first: a reader of an old snapshot then meets a gap, and starts at a newer one.
        covered = itertools.chain(self.covered_entries(epochs, known_to), self.old_snapshots())
        return delete_each(self._storage, covered)

    def covered_entries(self, epochs: Collection[int], known_to: int) -> Iterator[ObjectInfo]:
        """Yield the entries that the kept snapshots stand for; see `delete_covered`.

        Other masters may have led since, whose epochs are not known here. So an entry after
        `known_to` stays, however new the snapshots are.
        """
        prefix = object_names.journal_prefix(self._state_uri)
        newest = min(self.covered_to(), known_to)
        if not newest:
            return
        for info in self._storage.list(prefix):
            entry = number_of(info.uri, prefix, "journal entry")
            if entry > newest:
                return
            if entry not in epochs:
                yield info

    def covered_to(self) -> int:
        """Return the number of the newest entry that the kept snapshots stand for, 0 without."""
        kept = self._numbers()[-KEPT:]
        return kept[0] if len(kept) == KEPT else 0

    def old_snapshots(self) -> list[ObjectInfo]:
        """Return the snapshots that newer ones have replaced."""
        return self._objects()[:-KEPT]

    def _objects(self) -> list[ObjectInfo]:
        """Return all snapshots, oldest first."""
        return list(self._storage.list(object_names.snapshots_prefix(self._state_uri)))

    def _numbers(self) -> list[int]:
        prefix = object_names.snapshots_prefix(self._state_uri)
        return [number_of(info.uri, prefix, "snapshot") for info in self._objects()]

    def _read(self, number: int) -> Snapshot | None:
        """Return a snapshot, None where its bytes are damaged."""
        uri = object_names.snapshot_uri(self._state_uri, number)
        content = self._storage.read(uri)
        try:
            snapshot = decode_snapshot(content, self._state_uri)
            if snapshot.number != number:
                raise msgspec.ValidationError(f"it is snapshot {snapshot.number}")
        except UNREADABLE as error:
            log.warning("%s is damaged; an older one is read", uri, extra={"error": str(error)})
            self._damaged = self._damaged or uri
            return None
        self._damaged = ""
        return snapshot
