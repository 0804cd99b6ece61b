"""Objects in Google Cloud Storage: `gs://bucket/name`.

Every call names its generation precondition, its retry policy and its time limit. A retry after a
lost reply meets its own success as a 412, so each write carries a random token, and each
publication the name of its source, in the object's metadata: an object with them is ours.

`STORAGE_EMULATOR_HOST` sends everything to another server, without credentials.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, Final

from mrcore.errors import (
    NotFoundError,
    PreconditionFailedError,
    StorageError,
)
from mrcore.storage.base import ABSENT, ObjectInfo, Writer, is_hidden
from mrcore.storage.gcs.client import GcsConnection
from mrcore.storage.gcs.errors import source_errors
from mrcore.storage.gcs.objects import (
    SCHEME,
    SOURCE,
    blob_of,
    expected,
    info_of,
    load,
    marked,
    refused,
    split_uri,
)
from mrcore.storage.gcs.writer import GcsWriter
from mrcore.storage.places import NoFolders, Reach
from mrcore.storage.streams import RangeStream, ReadAhead

_FIELDS: Final = (
    "items(name,size,generation,crc32c,updated,metadata,contentEncoding),prefixes,nextPageToken"
)

_BLOCK_BYTES: Final = 4 << 20
_BLOCKS_AHEAD: Final = 2
_STREAM_BUFFER_BYTES: Final = 1 << 18
_READ_AHEAD_THREADS: Final = 32


class GcsStorage(NoFolders):
    """The store of `gs://` URIs; see `mrcore.storage.base.Storage`.

    `deadline_seconds` bounds the tries of one request, `timeout_seconds` each wait of one try, and
    `first_pause_seconds` is the first pause between two.
    """

    reach = Reach.EVERYWHERE

    def __init__(
        self,
        *,
        deadline_seconds: float = 60.0,
        timeout_seconds: float = 30.0,
        first_pause_seconds: float = 0.25,
    ) -> None:
        self._connection = GcsConnection(deadline_seconds, timeout_seconds, first_pause_seconds)
        self._lock = threading.Lock()
        self._lazy_pool: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Close the connections and threads that are kept; the next call makes new ones."""
        with self._lock:
            if self._lazy_pool is not None:
                self._lazy_pool.shutdown(cancel_futures=True)
                self._lazy_pool = None
        self._connection.close()

    def _pool(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._lazy_pool is None:
                self._lazy_pool = ThreadPoolExecutor(
                    _READ_AHEAD_THREADS, thread_name_prefix="gcs-read"
                )
            return self._lazy_pool

    # Reading

    def stat(self, uri: str) -> ObjectInfo:
        """Return what is known of the object."""
        return info_of(uri, load(self._connection, uri))

    def read(
        self, uri: str, start: int = 0, end: int | None = None, *, generation: str | None = None
    ) -> bytes:
        """Return the bytes [start, end) of the object; the CRC32C of a whole one is checked."""
        if end is not None and end <= start:
            self._stat_version(uri, generation)
            return b""
        from google.api_core.exceptions import RequestRangeNotSatisfiable

        blob = blob_of(self._connection, uri)

        def download() -> bytes:
            content: bytes = blob.download_as_bytes(
                start=start or None,
                end=None if end is None else end - 1,
                raw_download=True,
                checksum="crc32c",
                single_shot_download=True,
                if_generation_match=expected(uri, generation),
                **self._connection.bounds,
            )
            return content

        try:
            return self._connection.insist(uri, download)
        except PreconditionFailedError as error:
            raise _changed(uri) from error
        except StorageError as error:
            if isinstance(error.__cause__, RequestRangeNotSatisfiable):
                return b""  # the object is there, and ends before `start`
            raise

    def _stat_version(self, uri: str, generation: str | None) -> ObjectInfo:
        info = self.stat(uri)
        if generation not in (None, info.generation):
            raise _changed(uri)
        return info

    def open_read(
        self, uri: str, start: int = 0, end: int | None = None, *, generation: str | None = None
    ) -> BinaryIO:
        """Return a buffered, seekable stream that reads ahead in ranges of 4 MiB."""
        info = self._stat_version(uri, generation)
        stop = info.size_bytes if end is None else min(end, info.size_bytes)
        size = max(0, stop - start)

        def fetch(first: int, last: int) -> bytes:
            return self.read(uri, start + first, start + last, generation=info.generation)

        source = ReadAhead(
            fetch, size, self._pool(), block_bytes=_BLOCK_BYTES, blocks_ahead=_BLOCKS_AHEAD
        )
        return io.BufferedReader(RangeStream(source, size), _STREAM_BUFFER_BYTES)

    # Writing

    def open_write(
        self,
        uri: str,
        *,
        expect: str | None = None,
        metadata: Mapping[str, str] | None = None,
        durable: bool = False,
        private: bool = False,
    ) -> Writer:
        """Start a new object; nothing is sent before `commit`, and it is always durable."""
        del private  # a bucket says who reads it
        return GcsWriter(self._connection, uri, expect, metadata or {})

    def delete(self, uri: str, *, generation: str | None = None) -> bool:
        """Delete the object, if it is of this generation."""
        blob = blob_of(self._connection, uri)
        number = expected(uri, generation)
        try:
            self._connection.insist(
                uri,
                lambda: blob.delete(if_generation_match=number, **self._connection.bounds),
            )
        except (NotFoundError, PreconditionFailedError):
            return False
        return True

    def delete_all(self, objects: Iterable[ObjectInfo]) -> None:
        """Delete the objects."""
        for info in objects:
            self.delete(info.uri, generation=info.generation)

    def publish(
        self,
        source: ObjectInfo,
        destination: str,
        *,
        expect: str | None = None,
        metadata: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> ObjectInfo:
        """Rewrite the source to its destination within the service."""
        digest = hashlib.sha256(source.uri.encode("utf-8", "surrogatepass")).hexdigest()
        mark = f"{digest[:32]}#{source.generation}"
        if expect != ABSENT:  # create-only is safe to try at once: whatever is there answers 412
            done = marked(self._connection, destination, (SOURCE, mark))
            if done is not None:
                return done
        target = blob_of(self._connection, destination)
        target.metadata = {**(metadata or {}), SOURCE: mark}
        target.content_type = "application/octet-stream"
        try:
            self._rewrite(source, target, destination, expect)
        except StorageError as error:
            done = marked(self._connection, destination, (SOURCE, mark))
            if done is not None:
                return done
            if isinstance(error, PreconditionFailedError):
                self._stat_version(source.uri, source.generation)  # or was it the source's 412?
            raise refused(destination, expect, error) from error
        return info_of(destination, target)

    def _rewrite(self, source: ObjectInfo, target: Any, uri: str, expect: str | None) -> None:
        """Copy within the service, in as many calls as it takes."""
        blob = blob_of(self._connection, source.uri)
        number = expected(uri, expect)
        token: str | None = None

        def step() -> str | None:
            with source_errors(source):
                next_token: str | None = target.rewrite(
                    blob,
                    token=token,
                    if_generation_match=number,
                    if_source_generation_match=expected(source.uri, source.generation),
                    **self._connection.bounds,
                )[0]
                return next_token

        token = self._connection.insist(uri, step)
        while token is not None:
            token = self._connection.insist(uri, step)

    # Listing

    def list(
        self, prefix: str, *, recursive: bool = True, hidden: bool = True, start_after: str = ""
    ) -> Iterator[ObjectInfo]:
        """Yield the objects below the prefix, page by page; markers of folders are left out."""
        bucket, name = split_uri(prefix)
        client = self._connection.client()
        token: str | None = None

        def load_page() -> tuple[Any, str | None]:
            # One iterator a page: an iterator that has failed once says that it is at its end.
            pages = client.list_blobs(
                bucket,
                prefix=name or None,
                delimiter=None if recursive else "/",
                fields=_FIELDS,
                start_offset=split_uri(start_after)[1] if start_after else None,
                page_token=token,
                **self._connection.bounds,
            )
            return next(pages.pages, ()), pages.next_page_token

        while True:
            page, token = self._connection.insist(prefix, load_page)
            found = [
                info_of(f"{SCHEME}{bucket}/{blob.name}", blob)
                for blob in page
                if not blob.name.endswith("/")
            ]
            found = [info for info in found if info.uri != start_after]  # an offset is included
            found += [
                ObjectInfo(uri=f"{SCHEME}{bucket}/{folder}", size_bytes=0, generation="")
                for folder in getattr(page, "prefixes", ())
            ]
            found.sort(key=lambda info: info.uri.encode("utf-8", "surrogatepass"))
            yield from (info for info in found if hidden or not is_hidden(info.uri, prefix))
            if token is None:
                return


def _changed(uri: str) -> NotFoundError:
    return NotFoundError(f"{uri} has changed since it was first looked at.")
