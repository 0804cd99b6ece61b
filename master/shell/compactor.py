"""Writing of snapshots, and deletion of what they stand for, beside the loop of a master."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from mrcore.errors import MrcoreError
from mrcore.master.core.compaction import Compaction
from mrcore.master.core.durable import Durable
from mrcore.master.shell.snapshots import Snapshots, encode_snapshot
from mrcore.util.clock import Clock

log = logging.getLogger("mrcore.master")

RETRY_SECONDS: Final = 60.0
"""Pause after a snapshot that could not be written."""


class Compactor:
    """The one writer of snapshots of a master; one is written at a time.

    Its methods are called from one event loop, and do not block it but for the encoding: the state
    changes in place, so it is encoded at the moment in which it is that after an entry.
    """

    def __init__(self, snapshots: Snapshots, entries: int, clock: Clock) -> None:
        """Take the number of entries that were replayed after the newest snapshot."""
        self._snapshots = snapshots
        self._clock = clock
        self._compaction = Compaction(entries)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="snapshots")
        self._writing: Future[bool] | None = None
        self._not_before = float("-inf")

    def count(self, entry_bytes: int) -> None:
        """Count an entry that is durable."""
        self._compaction.append(entry_bytes)

    def encode_if_due(self, number: int, durable: Durable, *, idle: bool) -> bytes | None:
        """Return the snapshot of the state after entry `number`, None if none is due."""
        if self._writing is not None and not self._writing.done():
            return None
        if self._clock.monotonic() < self._not_before or not self._compaction.is_due(idle=idle):
            return None
        return encode_snapshot(number, durable)

    def write(self, number: int, content: bytes, epochs: list[int]) -> None:
        """Store a snapshot whose newest entry is durable, and delete what it stands for, soon.

        `epochs` are the numbers of the entries up to it that took an epoch.
        """
        self._compaction.restart(len(content))
        self._writing = self._thread.submit(self._write, number, content, frozenset(epochs))

    async def finish(self, timeout_seconds: float) -> None:
        """Wait until the snapshot in hand is written, or time is up."""
        if self._writing is not None:
            await asyncio.wait((asyncio.wrap_future(self._writing),), timeout=timeout_seconds)

    def close(self) -> None:
        """Let go of the thread; a write in hand ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _write(self, number: int, content: bytes, epochs: frozenset[int]) -> bool:
        try:
            self._snapshots.write(number, content)
            deleted = self._snapshots.delete_covered(epochs)
        except MrcoreError as error:
            # The journal has all that is in it, so this only makes the next start slower.
            log.warning("could not write a snapshot", extra={"error": str(error)})
            self._not_before = self._clock.monotonic() + RETRY_SECONDS
            return False
        except Exception:
            log.exception("a defect: a snapshot could not be written; the journal has all of it")
            raise
        log.info(
            "wrote a snapshot of the state",
            extra={"entry": number, "bytes": len(content), "deleted": deleted},
        )
        return True
