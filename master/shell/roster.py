"""Records of the masters of a state: one object each, written again and again while it lives.

A standby reads them to learn whether a leader that does not answer is alive in the store. Whether
a record is old is judged by its changes, on the clock of the one who looks: clocks differ.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

import msgspec

from mrcore.errors import StorageError
from mrcore.model import object_names
from mrcore.model.master import MasterRole
from mrcore.rpc.masters import MasterRecord, read_record
from mrcore.storage.base import ObjectInfo, Storage
from mrcore.util.clock import Clock

log = logging.getLogger("mrcore.master")

STALE_SECONDS: Final = 60.0
"""Time without a change after which a record is removed: its master was killed."""

Listed = tuple[ObjectInfo, MasterRecord]
"""A record, and the object that it lies in."""


class Roster:
    """The records of a state, as one master reads them and writes its own.

    Every method blocks, and may be called from any thread.
    """

    def __init__(
        self, storage: Storage, state_uri: str, record: MasterRecord, clock: Clock
    ) -> None:
        """Take the record of this master as it begins."""
        self._storage = storage
        self._state_uri = state_uri
        self._clock = clock
        self._lock = threading.Lock()
        self._left = False
        self.record = record
        """The record of this master, as it was written last."""
        self.listed: tuple[Listed, ...] = ()
        """All records, as they were read last."""
        self._seen: dict[str, tuple[str, float]] = {}
        """Generation of each record of others, and when it was seen first."""

    def beat(self, role: MasterRole, epoch: int, entry: int, behind: int = 0) -> None:
        """Write the record of this master anew: a sign of life. Raises StorageError."""
        with self._lock:
            if self._left:
                return
            self.record = msgspec.structs.replace(
                self.record,
                role=role,
                epoch=epoch,
                entry=entry,
                behind=behind,
                beats=self.record.beats + 1,
            )
            with self._storage.open_write(self._uri) as writer:
                writer.write(msgspec.json.encode(self.record) + b"\n")
                writer.commit()

    def leave(self) -> None:
        """Remove the record of this master, for good."""
        with self._lock:
            self._left = True
            try:
                self._storage.delete(self._uri)
            except StorageError as error:
                # The next leader sweeps it.
                log.warning("the record of this master stays", extra={"error": str(error)})

    def read(self) -> tuple[Listed, ...]:
        """Return all records. Raises StorageError."""
        known = {info.uri: (info, record) for info, record in self.listed}
        found = []
        for info in self._storage.list(object_names.masters_prefix(self._state_uri)):
            before = known.get(info.uri)
            unchanged = before is not None and before[0].generation == info.generation
            record = before[1] if before and unchanged else read_record(self._storage, info)
            if record is not None:
                found.append((info, record))
        self.listed = tuple(found)
        return self.listed

    def sweep(self) -> int:
        """Remove records of others that have long stood still; return their number.

        They are those of the latest `read`.
        """
        now, removed = self._clock.monotonic(), 0
        seen = {}
        for info, record in self.listed:
            if record.master_id == self.record.master_id:
                continue
            generation, since = self._seen.get(info.uri, ("", now))
            since = since if generation == info.generation else now
            if now - since >= STALE_SECONDS:
                removed += self._storage.delete(info.uri, generation=info.generation)
            else:
                seen[info.uri] = (info.generation, since)
        self._seen = seen
        return removed

    @property
    def _uri(self) -> str:
        return object_names.master_uri(self._state_uri, self.record.master_id)
