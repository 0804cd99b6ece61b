"""Stored objects of calls, and values that are too long for a report.

Objects lie below STATE/objects under the SHA-256 of their content. One is kept while a call that
has not ended names it, and at least `KEPT_SECONDS` after it was stored or named last.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Final

from mrcore.errors import AlreadyExistsError, NotFoundError, StorageError, UsageError
from mrcore.model import object_names
from mrcore.storage.base import ABSENT, ObjectInfo, Storage
from mrcore.util.clock import Clock

log = logging.getLogger("mrcore.master")

KEPT_SECONDS: Final = 3_600.0
CHUNK_BYTES: Final = 2**20
"""Bytes of one message of a stream."""
MAX_OBJECT_BYTES: Final = 16 * 2**30
PARALLEL_TRANSFERS: Final = 8
"""Objects that are stored or read at once; more wait."""


class Objects:
    """The objects below a state that belong to calls."""

    def __init__(self, storage: Storage, state_uri: str, clock: Clock) -> None:
        self._storage = storage
        self._state_uri = state_uri
        self._clock = clock
        self._lock = threading.Lock()
        self._wanted: dict[str, float] = {}
        """Time at which each object was stored or named last."""
        self._busy: dict[str, int] = {}
        """Objects that are being looked at, stored or read, and by how many requests."""
        self._going: dict[str, Future[None]] = {}
        """Objects that a sweep is deleting, each with the end of that."""
        self._begun = clock.monotonic()
        self._room = asyncio.Semaphore(PARALLEL_TRANSFERS)

    def want(self, digests: Iterable[str]) -> None:
        """Keep objects for an hour from now on."""
        now = self._clock.monotonic()
        with self._lock:
            for sha256 in digests:
                self._wanted[sha256] = now

    async def check(self, digests: Collection[str]) -> None:
        """Keep objects that calls name; raise NotFoundError for one that is not stored."""
        now = self._clock.monotonic()
        unknown = []
        with self._lock:
            for sha256 in digests:
                if sha256 in self._wanted:
                    self._wanted[sha256] = now
                else:
                    unknown.append(sha256)
        for sha256 in unknown:
            await self._check_stored(sha256)

    @asynccontextmanager
    async def _in_work(self, sha256: str) -> AsyncIterator[None]:
        """Keep a sweep from an object that is looked at, stored or read, and want it if that works.

        Waits first while a sweep deletes the object, so that nobody meets half of a deletion.
        """
        while True:
            with self._lock:
                going = self._going.get(sha256)
                if going is None:
                    self._busy[sha256] = self._busy.get(sha256, 0) + 1
                    break
            await asyncio.wrap_future(going)
        try:
            yield
            self.want([sha256])
        finally:
            with self._lock:
                self._busy[sha256] -= 1
                if not self._busy[sha256]:
                    del self._busy[sha256]

    async def _check_stored(self, sha256: str) -> None:
        uri = object_names.object_uri(self._state_uri, sha256)
        async with self._in_work(sha256):
            try:
                await asyncio.to_thread(self._storage.stat, uri)
            except NotFoundError:
                raise NotFoundError(
                    f"No object {sha256} is stored (any more). Scatter the value again, "
                    "or store it with PutObject."
                ) from None

    async def put(self, sha256: str, chunks: AsyncIterator[bytes]) -> str:
        """Store an object, or keep one that is there where no data comes; return its place.

        Raises UsageError for content that has another digest, NotFoundError where there is neither.
        """
        uri = object_names.object_uri(self._state_uri, sha256)
        first = await anext(chunks, b"")
        if not first and sha256 != hashlib.sha256(b"").hexdigest():
            await self._check_stored(sha256)
            return uri
        async with self._room, self._in_work(sha256):
            with ExitStack() as stack:
                writer = stack.enter_context(
                    await asyncio.to_thread(
                        self._storage.open_write, uri, expect=ABSENT, durable=True
                    )
                )
                digest, size = hashlib.sha256(first), len(first)
                await asyncio.to_thread(writer.write, first)
                async for chunk in chunks:
                    size += len(chunk)
                    if size > MAX_OBJECT_BYTES:
                        raise UsageError(
                            f"An object may take {MAX_OBJECT_BYTES:,} bytes, and this one takes "
                            "more. Write it to a file, and pass the file's name."
                        )
                    digest.update(chunk)
                    await asyncio.to_thread(writer.write, chunk)
                if digest.hexdigest() != sha256:
                    raise UsageError(
                        f"The content of the object does not have the SHA-256 {sha256}. Send it "
                        "again."
                    )
                # Named by its content: what is there is the same.
                with suppress(AlreadyExistsError):
                    await asyncio.to_thread(writer.commit)
        return uri

    async def read(self, uri: str, generation: str | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes of an object; raise NotFoundError where it is gone."""
        async with self._room:
            with ExitStack() as stack:
                source = stack.enter_context(
                    await asyncio.to_thread(self._storage.open_read, uri, generation=generation)
                )
                while chunk := await asyncio.to_thread(source.read, CHUNK_BYTES):
                    yield chunk

    async def read_stored(self, sha256: str) -> AsyncIterator[bytes]:
        """Yield the bytes of a stored object, and keep it for an hour; raise NotFoundError."""
        async with self._in_work(sha256):
            async for data in self.read(object_names.object_uri(self._state_uri, sha256)):
                yield data

    def delete_values(self, objects: Iterable[ObjectInfo]) -> None:
        """Delete values that nobody wants, as far as the store lets it be done; blocks."""
        prefix = object_names.results_prefix(self._state_uri)
        for info in objects:
            if not info.uri.startswith(prefix):
                continue  # a worker may name anything
            try:
                self._storage.delete(info.uri, generation=info.generation)
            except StorageError as error:
                log.warning("a value is left", extra={"uri": info.uri, "error": str(error)})

    def delete_results(self, job_id: str) -> int:
        """Delete all long values of a session, or results of a job, that has ended. Blocks.

        Returns their number.
        """
        prefix = object_names.session_results_prefix(self._state_uri, job_id)
        values = list(self._storage.list(prefix))
        deleted = sum(self._storage.delete(info.uri, generation=info.generation) for info in values)
        self._storage.prune(prefix)
        return deleted

    def sweep(self, named: Iterable[str], live: Callable[[str], bool]) -> int:
        """Delete objects that no call names, and values of sessions that have ended; blocks.

        A master that has just begun does not know what was stored or named before.
        """
        now = self._clock.monotonic()
        if now - self._begun < KEPT_SECONDS:
            return 0
        with self._lock:
            self._wanted = {
                sha256: when for sha256, when in self._wanted.items() if now - when < KEPT_SECONDS
            }
        kept, deleted = set(named), 0
        prefix = object_names.objects_prefix(self._state_uri)
        for info in list(self._storage.list(prefix)):
            sha256 = info.uri.removeprefix(prefix)
            if sha256 not in kept:
                deleted += self._delete_unwanted(sha256, info)
        results = object_names.results_prefix(self._state_uri)
        for folder in list(self._storage.list(results, recursive=False)):
            session_id = folder.uri.removeprefix(results).rstrip("/")
            if folder.is_folder and not live(session_id):
                deleted += self.delete_results(session_id)
        return deleted

    def _delete_unwanted(self, sha256: str, info: ObjectInfo) -> bool:
        """Delete an object that nobody wants or works with; blocks, but not those who look."""
        ended: Future[None] = Future()
        ended.set_running_or_notify_cancel()  # whoever waits may give up, and others wait on
        with self._lock:
            if sha256 in self._wanted or sha256 in self._busy:
                return False
            self._going[sha256] = ended
        try:
            return self._storage.delete(info.uri, generation=info.generation)
        finally:
            with self._lock:
                del self._going[sha256]
            ended.set_result(None)
