"""Writing of packs and snapshots, and deletion of what these stand for, beside a master's loop."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from mrcore.errors import MrcoreError
from mrcore.master.core.compaction import Compaction, Packing
from mrcore.master.core.durable import Durable
from mrcore.master.shell.packs import Packs
from mrcore.master.shell.snapshots import Snapshots, encode_snapshot
from mrcore.util.clock import Clock

log = logging.getLogger("mrcore.master")

RETRY_SECONDS: Final = 60.0
"""Pause after a snapshot that could not be written."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A snapshot that was encoded and is not stored."""

    number: int
    """Number of the newest entry in it."""
    content: bytes
    epochs: frozenset[int]
    """Numbers of the entries up to it that took an epoch."""


class Compactor:
    """The one writer of packs and snapshots of a master; one of each is written at a time.

    Its methods are called from one event loop, and do not block it but for the encoding: the state
    changes in place, so it is encoded at the moment in which it is that after an entry.
    """

    def __init__(self, snapshots: Snapshots, packs: Packs, entries: int, clock: Clock) -> None:
        """Take the number of entries that were replayed after the newest snapshot."""
        self._snapshots = snapshots
        self._packs = packs
        self._clock = clock
        self._compaction = Compaction(entries)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="snapshots")
        self._writing: Future[None] | None = None
        self._packing = Packing()
        self._pack_writing: Future[None] | None = None
        self._not_before = float("-inf")

    def add(self, number: int, content: bytes) -> None:
        """Take an entry that is durable; soon it lies in a pack, too."""
        self._compaction.append(len(content))
        self._packing.append(number, content)
        if not self._packing.is_due():
            return
        if self._pack_writing is None or self._pack_writing.done():
            contents = list(self._packing.contents)
            self._pack_writing = self._thread.submit(self._pack, self._packing.first, contents)
            self._packing.given()
        elif self._packing.is_full():
            self._packing.given()  # the store is slow: nothing piles up here

    def encode_if_due(self, number: int, durable: Durable, *, idle: bool) -> Draft | None:
        """Return the snapshot of the state after entry `number`, None if none is due."""
        if self._writing is not None and not self._writing.done():
            return None
        if self._clock.monotonic() < self._not_before or not self._compaction.is_due(idle=idle):
            return None
        return Draft(number, encode_snapshot(number, durable), frozenset(durable.epochs))

    def write(self, draft: Draft) -> None:
        """Store a snapshot whose newest entry is durable, and delete what it stands for, soon."""
        self._compaction.restart(len(draft.content))
        self._writing = self._thread.submit(self._write, draft)

    async def finish(self, timeout_seconds: float) -> None:
        """Wait until the snapshot in hand is written, or time is up."""
        if self._writing is not None:
            await asyncio.wait((asyncio.wrap_future(self._writing),), timeout=timeout_seconds)

    def close(self) -> None:
        """Let go of the thread; a write in hand ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _pack(self, first: int, contents: list[bytes]) -> None:
        try:
            self._packs.write(first, contents)
        except MrcoreError as error:
            # The entries are there, so this only makes the next start slower.
            log.warning("could not write a pack of entries", extra={"error": str(error)})

    def _write(self, draft: Draft) -> None:
        try:
            self._snapshots.write(draft.number, draft.content)
            deleted = self._snapshots.delete_covered(draft.epochs, draft.number)
            deleted += self._packs.delete_covered(self._snapshots.covered_to())
        except MrcoreError as error:
            # The journal has all that is in it, so this only makes the next start slower.
            log.warning("could not write a snapshot", extra={"error": str(error)})
            self._not_before = self._clock.monotonic() + RETRY_SECONDS
            return
        except Exception:
            log.exception("a defect: a snapshot could not be written; the journal has all of it")
            raise
        log.info(
            "wrote a snapshot of the state",
            extra={"entry": draft.number, "bytes": len(draft.content), "deleted": deleted},
        )
