"""Objects in Google Cloud Storage: `gs://bucket/name`.

Every call names its generation precondition, its retry policy and its time limit. A retry after a
lost reply meets its own success as a 412, so each write carries a random token, and each
publication the name of its source, in the object's metadata: what bears them is ours.

`STORAGE_EMULATOR_HOST` sends everything to another server, without credentials.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
from base64 import b64decode
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from mrcore.errors import (
    AlreadyExistsError,
    NotFoundError,
    PreconditionFailedError,
    StorageError,
    UnavailableError,
)
from mrcore.storage.base import ABSENT, ObjectInfo, Writer
from mrcore.storage.files import os_errors
from mrcore.storage.gcs_client import GcsConnection
from mrcore.storage.gcs_errors import gcs_errors, source_errors
from mrcore.storage.streams import RangeStream, ReadAhead

SCHEME: Final = "gs://"
_ATTEMPT: Final = "mrcore-write"
_SOURCE: Final = "mrcore-source"
_OWN_METADATA: Final = frozenset({_ATTEMPT, _SOURCE})
_FIELDS: Final = "items(name,size,generation,crc32c,updated,metadata),prefixes,nextPageToken"

_SPOOL_BYTES: Final = 8 << 20
"""Content up to here stays in memory and goes out in one request; more lies in a temporary file."""
_UPLOAD_CHUNK_BYTES: Final = 16 << 20
_BLOCK_BYTES: Final = 4 << 20
_BLOCKS_AHEAD: Final = 2
_STREAM_BUFFER_BYTES: Final = 1 << 18
_READ_AHEAD_THREADS: Final = 32


def split_uri(uri: str) -> tuple[str, str]:
    """Return the bucket and the object's name."""
    bucket, _, name = uri.removeprefix(SCHEME).partition("/")
    if not uri.startswith(SCHEME) or not bucket:
        raise StorageError(f"{uri!r} names no bucket: write gs://bucket/name.")
    return bucket, name


def _new_spool() -> tempfile.SpooledTemporaryFile[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)


class _GcsWriter:
    """Content on its way to a name; see `mrcore.storage.base.Writer`."""

    def __init__(
        self, storage: GcsStorage, uri: str, expect: str | None, metadata: Mapping[str, str]
    ) -> None:
        self._storage = storage
        self._uri = uri
        self._expect = expect
        self._metadata = metadata
        self._spool: tempfile.SpooledTemporaryFile[bytes] | None = _new_spool()

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        assert self._spool is not None, "write after the end"
        with os_errors(tempfile.gettempdir()):
            return self._spool.write(data)

    def commit(self) -> ObjectInfo:
        assert self._spool is not None, "commit after the end"
        info = self._storage.upload(self._uri, self._spool, self._expect, self._metadata)
        self._discard()
        return info

    def _discard(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self._discard()


class GcsStorage:
    """The store of `gs://` URIs; see `mrcore.storage.base.Storage`.

    `deadline_seconds` bounds the retries of one request, `timeout_seconds` each try, and
    `first_delay_seconds` is about the first pause between two.
    """

    def __init__(
        self,
        *,
        deadline_seconds: float = 60.0,
        timeout_seconds: float = 30.0,
        first_delay_seconds: float = 0.25,
    ) -> None:
        self._connection = GcsConnection(deadline_seconds, timeout_seconds, first_delay_seconds)
        self._lock = threading.Lock()
        self._lazy_pool: ThreadPoolExecutor | None = None

    def _blob(self, uri: str, **options: Any) -> Any:
        # Never of a given generation: in a bucket with versions that would reach deleted objects.
        bucket, name = split_uri(uri)
        if not name:
            raise StorageError(f"{uri!r} names a bucket, not an object in it.")
        return self._connection.client().bucket(bucket).blob(name, **options)

    def _pool(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._lazy_pool is None:
                self._lazy_pool = ThreadPoolExecutor(
                    _READ_AHEAD_THREADS, thread_name_prefix="gcs-read"
                )
            return self._lazy_pool

    # Reading

    def _load(self, uri: str) -> Any:
        """Return the blob with its metadata; raise NotFoundError."""
        blob = self._blob(uri)
        blob.reload(**self._connection.bounds())
        return blob

    def stat(self, uri: str) -> ObjectInfo:
        """Return what is known of the object."""
        with gcs_errors(uri):
            return _info(uri, self._load(uri))

    def read(
        self, uri: str, start: int = 0, end: int | None = None, *, generation: str | None = None
    ) -> bytes:
        """Return the bytes [start, end) of the object; the CRC32C of a whole one is checked."""
        if end is not None and end <= start:
            self._stat_version(uri, generation)
            return b""
        from google.api_core.exceptions import RequestRangeNotSatisfiable

        try:
            with gcs_errors(uri):
                content: bytes = self._blob(uri).download_as_bytes(
                    start=start or None,
                    end=None if end is None else end - 1,
                    raw_download=True,
                    checksum="crc32c",
                    single_shot_download=True,
                    if_generation_match=_expected(uri, generation),
                    **self._connection.bounds(),
                )
                return content
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
    ) -> Writer:
        """Start a new object; nothing is sent before `commit`, and it is always durable."""
        return _GcsWriter(self, uri, expect, metadata or {})

    def upload(
        self,
        uri: str,
        content: tempfile.SpooledTemporaryFile[bytes],
        expect: str | None,
        metadata: Mapping[str, str],
    ) -> ObjectInfo:
        """Create an object from a file, in one request or a resumable upload."""
        token = os.urandom(16).hex()
        try:
            with gcs_errors(uri):
                blob = self._blob(uri, chunk_size=_UPLOAD_CHUNK_BYTES)
                blob.metadata = {**metadata, _ATTEMPT: token}
                blob.upload_from_file(
                    content,
                    rewind=True,
                    size=content.seek(0, io.SEEK_END),
                    content_type="application/octet-stream",
                    checksum="crc32c",
                    if_generation_match=_expected(uri, expect),
                    **self._connection.bounds(),
                )
                return _info(uri, blob)
        except (PreconditionFailedError, UnavailableError) as error:
            return self._own_or_raise(uri, (_ATTEMPT, token), expect, error)

    def _own_or_raise(
        self,
        uri: str,
        mark: tuple[str, str],
        expect: str | None,
        error: StorageError,
        source: ObjectInfo | None = None,
    ) -> ObjectInfo:
        """Return the object if it bears our mark: the request did work, and its reply was lost."""
        own = self._marked(uri, mark)
        if own is not None:
            return own
        if isinstance(error, PreconditionFailedError):
            if source is not None:  # was it the condition on the source?
                self._stat_version(source.uri, source.generation)
            if expect == ABSENT:
                raise AlreadyExistsError(f"{uri} exists already.") from error
        raise error

    def _marked(self, uri: str, mark: tuple[str, str]) -> ObjectInfo | None:
        try:
            with gcs_errors(uri):
                blob = self._load(uri)
        except NotFoundError:
            return None
        return _info(uri, blob) if mark in (blob.metadata or {}).items() else None

    def delete(self, uri: str, *, generation: str | None = None) -> bool:
        """Delete the object, if it is of this generation."""
        try:
            with gcs_errors(uri):
                self._blob(uri).delete(
                    if_generation_match=_expected(uri, generation),
                    **self._connection.bounds(),
                )
        except (NotFoundError, PreconditionFailedError):
            return False
        return True

    def publish(
        self,
        source: ObjectInfo,
        destination: str,
        *,
        expect: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Rewrite the source to its destination within the service."""
        digest = hashlib.sha256(source.uri.encode("utf-8", "surrogatepass")).hexdigest()
        mark = f"{digest[:32]}#{source.generation}"
        if expect != ABSENT:  # create-only is safe to try at once: whatever is there answers 412
            done = self._marked(destination, (_SOURCE, mark))
            if done is not None:
                return done
        try:
            with gcs_errors(destination):
                target = self._blob(destination)
                target.metadata = {**(metadata or {}), _SOURCE: mark}
                target.content_type = "application/octet-stream"
                with source_errors(source):
                    self._rewrite(source, target, expect)
                return _info(destination, target)
        except StorageError as error:
            return self._own_or_raise(destination, (_SOURCE, mark), expect, error, source)

    def _rewrite(self, source: ObjectInfo, target: Any, expect: str | None) -> None:
        blob = self._blob(source.uri)
        token: str | None = None
        while True:
            token, _, _ = target.rewrite(
                blob,
                token=token,
                if_generation_match=_expected(source.uri, expect),
                if_source_generation_match=_expected(source.uri, source.generation),
                **self._connection.bounds(),
            )
            if token is None:
                return

    # Listing

    def list(self, prefix: str, *, recursive: bool = True) -> Iterator[ObjectInfo]:
        """Yield the objects below the prefix, page by page; markers of folders are left out."""
        bucket, name = split_uri(prefix)
        with gcs_errors(prefix):
            listing = self._connection.client().list_blobs(
                bucket,
                prefix=name or None,
                delimiter=None if recursive else "/",
                fields=_FIELDS,
                **self._connection.bounds(),
            )
            pages = listing.pages
        while True:
            with gcs_errors(prefix):
                page = next(pages, None)
            if page is None:
                return
            found = [
                _info(f"{SCHEME}{bucket}/{blob.name}", blob)
                for blob in page
                if not blob.name.endswith("/")
            ]
            found += [
                ObjectInfo(uri=f"{SCHEME}{bucket}/{folder}", size_bytes=0, generation="")
                for folder in page.prefixes
            ]
            found.sort(key=lambda info: info.uri.encode("utf-8", "surrogatepass"))
            yield from found


def _changed(uri: str) -> NotFoundError:
    return NotFoundError(f"{uri} has changed since it was first looked at.")


def _expected(uri: str, generation: str | None) -> int | None:
    """Return a generation as the client wants it; 0 is an object that does not exist."""
    try:
        return None if generation is None else int(generation)
    except ValueError:
        raise PreconditionFailedError(f"{uri} never had a generation {generation!r}.") from None


def _info(uri: str, blob: Any) -> ObjectInfo:
    metadata: dict[str, str] = blob.metadata or {}
    updated = blob.updated
    return ObjectInfo(
        uri=uri,
        size_bytes=int(blob.size or 0),  # left out of a reply when it is 0 by some servers
        generation=str(blob.generation),
        crc32c=None if blob.crc32c is None else int.from_bytes(b64decode(blob.crc32c)),
        modified_seconds=0.0 if updated is None else updated.timestamp(),
        metadata={key: value for key, value in metadata.items() if key not in _OWN_METADATA},
    )
