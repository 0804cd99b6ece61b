"""Objects in the memory of this process (`mem://space/x`), for tests and simulations."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from mrcore.errors import AlreadyExistsError, NotFoundError, PreconditionFailedError
from mrcore.storage.base import ABSENT, ObjectInfo, Writer, is_hidden
from mrcore.storage.places import NoFolders, Reach
from mrcore.storage.streams import Unfinished
from mrcore.util.clock import SYSTEM, Clock
from mrcore.util.crc32c import extend_crc32c


@dataclass(frozen=True, slots=True)
class _Object:
    info: ObjectInfo
    content: bytes
    published_from: tuple[str, str] | None = field(default=None)
    """URI and generation of the source, for an object made by `publish`."""


class _MemoryWriter(Unfinished[bytearray]):
    """Content on its way to a name; see `mrcore.storage.base.Writer`."""

    def __init__(
        self, storage: MemoryStorage, uri: str, expect: str | None, metadata: Mapping[str, str]
    ) -> None:
        super().__init__(bytearray())
        self._storage = storage
        self._uri = uri
        self._expect = expect
        self._metadata = metadata

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        content = self.content
        before = len(content)
        content += data
        return len(content) - before

    def commit(self) -> ObjectInfo:
        info = self._storage.put(
            self._uri, bytes(self.content), expect=self._expect, metadata=self._metadata
        )
        self.end()
        return info

    def let_go(self, content: bytearray) -> None:
        content.clear()


class MemoryStorage(NoFolders):
    """The store of `mem://` URIs; see `mrcore.storage.base.Storage`."""

    reach = Reach.PROCESS

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._objects: dict[str, _Object] = {}
        self._generations = itertools.count(1)

    def put(
        self,
        uri: str,
        content: bytes,
        *,
        expect: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Store an object in one step."""
        with self._lock:
            self._check_expected(uri, expect)
            return self._store(uri, content, metadata or {}, None)

    def _store(
        self,
        uri: str,
        content: bytes,
        metadata: Mapping[str, str],
        published_from: tuple[str, str] | None,
    ) -> ObjectInfo:
        info = ObjectInfo(
            uri=uri,
            size_bytes=len(content),
            generation=str(next(self._generations)),
            crc32c=extend_crc32c(0, content),
            modified_seconds=self._clock.wall(),
            metadata=dict(metadata),
        )
        self._objects[uri] = _Object(info, content, published_from)
        return info

    def _check_expected(self, uri: str, expect: str | None) -> None:
        current = self._objects.get(uri)
        if expect is None:
            return
        if expect == ABSENT:
            if current is not None:
                raise AlreadyExistsError(f"{uri} exists already.")
        elif current is None or current.info.generation != expect:
            raise PreconditionFailedError(f"{uri} was changed by somebody else.")

    def _get(self, uri: str, generation: str | None) -> _Object:
        with self._lock:
            found = self._objects.get(uri)
        if found is None:
            raise NotFoundError(f"{uri} does not exist.")
        if generation not in (None, found.info.generation):
            raise NotFoundError(f"{uri} has changed since it was first looked at.")
        return found

    def stat(self, uri: str) -> ObjectInfo:
        """Return what is known of the object."""
        return self._get(uri, None).info

    def read(
        self, uri: str, start: int = 0, end: int | None = None, *, generation: str | None = None
    ) -> bytes:
        """Return the bytes [start, end) of the object."""
        return self._get(uri, generation).content[start:end]

    def open_read(
        self, uri: str, start: int = 0, end: int | None = None, *, generation: str | None = None
    ) -> BinaryIO:
        """Return a stream over [start, end) of the object."""
        return io.BytesIO(self.read(uri, start, end, generation=generation))

    def open_write(
        self,
        uri: str,
        *,
        expect: str | None = None,
        metadata: Mapping[str, str] | None = None,
        durable: bool = False,
        private: bool = False,
    ) -> Writer:
        """Start a new object; `durable` and `private` change nothing."""
        return _MemoryWriter(self, uri, expect, metadata or {})

    def list(
        self, prefix: str, *, recursive: bool = True, hidden: bool = True, start_after: str = ""
    ) -> Iterator[ObjectInfo]:
        """Yield the objects below the prefix, as they are at the first step."""
        with self._lock:
            found = [o.info for uri, o in self._objects.items() if uri.startswith(prefix)]
        if start_after:
            found = [info for info in found if _utf8(info.uri) > _utf8(start_after)]
        if not hidden:
            found = [info for info in found if not is_hidden(info.uri, prefix)]
        found.sort(key=lambda info: _utf8(info.uri))
        last_folder = ""
        for info in found:
            head, slash, _ = info.uri[len(prefix) :].partition("/")
            if recursive or not slash:
                yield info
            elif (folder := f"{prefix}{head}/") != last_folder:
                last_folder = folder
                yield ObjectInfo(uri=folder, size_bytes=0, generation="")

    def delete(self, uri: str, *, generation: str | None = None) -> bool:
        """Forget the object."""
        with self._lock:
            found = self._objects.get(uri)
            if found is None or generation not in (None, found.info.generation):
                return False
            del self._objects[uri]
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
        """Store the content of the source under a second name."""
        identity = (source.uri, source.generation)
        with self._lock:
            current = self._objects.get(destination)
            if current is not None and current.published_from == identity:
                return current.info
            found = self._objects.get(source.uri)
            if found is None or found.info.generation != source.generation:
                raise NotFoundError(f"{source.uri} is gone, or has changed.")
            self._check_expected(destination, expect)
            return self._store(destination, found.content, metadata or {}, identity)


def _utf8(uri: str) -> bytes:
    return uri.encode("utf-8", "surrogatepass")
