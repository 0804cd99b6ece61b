"""The one Protocol behind which every object store stands.

An object is whole and immutable: it appears when its writer commits, complete, or not at all. It is
named by a URI with a scheme (`file:///data/x`, `gs://bucket/x`, `mem://space/x`) and versioned by a
*generation*, an opaque string that changes whenever the name gets other content. Names are built in
`mrcore.model.object_names`; stores are found by scheme in `mrcore.storage.registry`.

Every method blocks, is safe to call from any thread, retries what is worth retrying within a
bounded time, and raises only `mrcore.errors.StorageError` and its children.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import BinaryIO, Final, Protocol, Self

import msgspec

from mrcore.storage.places import Places

ABSENT: Final = "0"
"""The generation of an object that does not exist: `expect=ABSENT` means create only."""


class ObjectInfo(msgspec.Struct, frozen=True):
    """Facts about one object.

    A listing that does not recurse also yields folders: their `uri` ends in `/` and their
    `generation` is empty.
    """

    uri: str
    size_bytes: int
    generation: str
    crc32c: int | None = None
    """CRC32C of the content where it is known without reading (files: only just after a write)."""
    modified_seconds: float = 0.0
    """Wall-clock time of the last change, seconds since 1970, 0 where unknown."""
    metadata: Mapping[str, str] = {}
    content_encoding: str = ""
    """The HTTP header under which the content is stored, such as `gzip`; buckets only."""

    @property
    def is_folder(self) -> bool:
        """Return whether this is a common prefix of a listing, not an object."""
        return self.uri.endswith("/")

    def with_crc32c(self, crc32c: int) -> ObjectInfo:
        """Return the same facts, with the CRC32C that a writer has counted where none is known."""
        return self if self.crc32c is not None else msgspec.structs.replace(self, crc32c=crc32c)


class Writer(Protocol):
    """A new object in the making; leaving the `with` block without `commit()` discards it."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Append; return the number of bytes, which is always all of them."""
        ...

    def commit(self) -> ObjectInfo:
        """Publish the object under its name, if the expectation still holds.

        Raises AlreadyExistsError (with `expect=ABSENT`) or PreconditionFailedError. A failure
        after one's own reply was lost is recognised and is not an error.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


def is_hidden(uri: str, prefix: str) -> bool:
    """Return whether a part of a name behind the prefix's last `/` begins with `_` or `.`."""
    below = uri[prefix.rfind("/") + 1 :]
    return any(part.startswith(("_", ".")) for part in below.split("/"))


class Storage(Places, Protocol):
    """An object store, with its names and folders (`Places`)."""

    def stat(self, uri: str) -> ObjectInfo:
        """Return what is known of the object; raise NotFoundError."""
        ...

    def read(
        self, uri: str, start: int = 0, end: int | None = None, *, generation: str | None = None
    ) -> bytes:
        """Return the bytes [start, end), clipped to the object; `end=None` reads to its end.

        With `generation`, raise NotFoundError when that generation is no longer there.
        """
        ...

    def open_read(
        self, uri: str, start: int = 0, end: int | None = None, *, generation: str | None = None
    ) -> BinaryIO:
        """Return a buffered stream over [start, end) that reads ahead in large ranges."""
        ...

    def open_write(
        self,
        uri: str,
        *,
        expect: str | None = None,
        metadata: Mapping[str, str] | None = None,
        durable: bool = False,
        private: bool = False,
    ) -> Writer:
        """Start a new object.

        `expect` is the generation that the name must have at commit (`ABSENT`: none), or None for
        any. `durable` asks files for fsync of the content and the folder; object stores always are.
        `private` lets only the owner read a file; in object stores the bucket decides.
        """
        ...

    def list(
        self, prefix: str, *, recursive: bool = True, hidden: bool = True, start_after: str = ""
    ) -> Iterator[ObjectInfo]:
        """Yield the objects whose URI starts with `prefix`, ascending by URI as UTF-8 bytes.

        `recursive=False` stops at the next `/` after the prefix and yields folders in its place.
        `hidden=False` leaves out names for which `is_hidden` is true. Such folders are not read,
        since they may be closed.
        `start_after` is a URI: only what sorts after it is listed, and what lies before costs next
        to nothing. It goes with `recursive=True`.
        """
        ...

    def delete(self, uri: str, *, generation: str | None = None) -> bool:
        """Delete the object; return False when it was not there.

        With `generation`, another generation is left alone and False is returned.
        """
        ...

    def delete_all(self, objects: Iterable[ObjectInfo]) -> None:
        """Delete these versions of objects, as far as they are there, one after the other."""
        ...

    def publish(
        self,
        source: ObjectInfo,
        destination: str,
        *,
        expect: str | None = None,
        metadata: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> ObjectInfo:
        """Copy `source` to `destination` without moving bytes through this process.

        It is durable on return; with `durable=False` perhaps only after `sync` of its folder, which
        spares stores of files a sync for each of many.

        Idempotent: a destination that already is this publication of this source generation is
        returned as it is, whatever `expect` says. Raises NotFoundError when that generation of the
        source is gone, AlreadyExistsError or PreconditionFailedError when `expect` does not hold.
        """
        ...
