"""Names, blobs and object infos, for all calls to Google Cloud Storage."""

from __future__ import annotations

from base64 import b64decode
from typing import Any, Final

from mrcore.errors import (
    AlreadyExistsError,
    NotFoundError,
    PreconditionFailedError,
    StorageError,
)
from mrcore.storage.base import ABSENT, ObjectInfo
from mrcore.storage.gcs.client import GcsConnection

SCHEME: Final = "gs://"

ATTEMPT: Final = "mrcore-write"
"""Metadata of every object written: a random token of the writer."""
SOURCE: Final = "mrcore-source"
"""Metadata of every publication: what it was made of."""
_OWN_METADATA: Final = frozenset({ATTEMPT, SOURCE})


def split_uri(uri: str) -> tuple[str, str]:
    """Return the bucket and the object's name."""
    bucket, _, name = uri.removeprefix(SCHEME).partition("/")
    if not uri.startswith(SCHEME) or not bucket:
        raise StorageError(f"{uri!r} does not name a bucket. Write gs://bucket/name.")
    return bucket, name


def blob_of(connection: GcsConnection, uri: str, **options: Any) -> Any:
    """Return the client's blob for an object; nothing is asked of the service.

    It is never of a given generation: in a bucket with versions that would reach deleted objects.
    """
    bucket, name = split_uri(uri)
    if not name:
        raise StorageError(f"{uri!r} names a bucket, not an object in it.")
    return connection.client().bucket(bucket).blob(name, **options)


def load(connection: GcsConnection, uri: str) -> Any:
    """Return the blob with its metadata; raise NotFoundError."""
    blob = blob_of(connection, uri)
    connection.insist(uri, lambda: blob.reload(**connection.bounds))
    return blob


def marked(connection: GcsConnection, uri: str, mark: tuple[str, str]) -> ObjectInfo | None:
    """Return the object if it has our mark: the request worked, and its reply was lost."""
    try:
        blob = load(connection, uri)
    except NotFoundError:
        return None
    return info_of(uri, blob) if mark in (blob.metadata or {}).items() else None


def info_of(uri: str, blob: Any) -> ObjectInfo:
    """Return what a blob with its metadata tells."""
    metadata: dict[str, str] = blob.metadata or {}
    updated = blob.updated
    return ObjectInfo(
        uri=uri,
        size_bytes=int(blob.size or 0),  # a service may leave out what is zero
        generation=str(blob.generation),
        crc32c=None if blob.crc32c is None else int.from_bytes(b64decode(blob.crc32c)),
        modified_seconds=0.0 if updated is None else updated.timestamp(),
        metadata={key: value for key, value in metadata.items() if key not in _OWN_METADATA},
        content_encoding=blob.content_encoding or "",
    )


def expected(uri: str, generation: str | None) -> int | None:
    """Return a generation as the client wants it; 0 is an object that does not exist."""
    try:
        return None if generation is None else int(generation)
    except ValueError:
        raise PreconditionFailedError(f"{uri} never had a generation {generation!r}.") from None


def refused(uri: str, expect: str | None, error: StorageError) -> StorageError:
    """Return what to raise for an error of a conditional write that did not work."""
    if expect == ABSENT and isinstance(error, PreconditionFailedError):
        return AlreadyExistsError(f"{uri} exists already.")
    return error
