"""Stores as tests see them: the store, where to write, and a side door that does not go through it.

`Place.put` and `Place.get` reach the content without the store under test, so that its reads are
tested without trusting its writes, and the other way round.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mrcore.storage import registry
from mrcore.storage.base import ABSENT, ObjectInfo, Storage
from mrcore.storage.faulty import FaultyStorage
from mrcore.storage.gcs.store import GcsStorage
from mrcore.storage.local import files
from mrcore.storage.local import store as local
from mrcore.storage.local.store import LocalStorage
from mrcore.storage.memory import MemoryStorage
from tests.gcsserver import GcsServer
from tests.gcsserver.errors import ApiError
from tests.support.toy_store import ToyStorage


@dataclass(frozen=True)
class Place:
    """A store to test; names are relative to `base_uri`."""

    kind: str
    storage: Storage
    base_uri: str
    put: Callable[[str, bytes], None]
    get: Callable[[str], bytes | None]
    names: Callable[[], list[str]]
    """Everything that lies there, in no order; files show temporary names too."""
    keeps_metadata: bool = True
    close: Callable[[], None] = lambda: None

    def uri(self, name: str) -> str:
        return f"{self.base_uri}/{name}"

    def write(
        self, name: str, content: bytes, *, expect: str | None = None, durable: bool = False
    ) -> ObjectInfo:
        with self.storage.open_write(self.uri(name), expect=expect, durable=durable) as writer:
            writer.write(content)
            return writer.commit()

    def create(self, name: str, content: bytes) -> ObjectInfo:
        return self.write(name, content, expect=ABSENT)


def memory_place() -> Place:
    return _in_memory("memory", MemoryStorage(), "mem://test")


def toy_place() -> Place:
    return _in_memory("toy", ToyStorage(), "toy://bucket/base")


def _in_memory(kind: str, storage: MemoryStorage, base: str) -> Place:

    def get(name: str) -> bytes | None:
        found = storage._objects.get(f"{base}/{name}")
        return None if found is None else found.content

    def put(name: str, content: bytes) -> None:
        with storage._lock:
            storage._store(f"{base}/{name}", content, {}, None)

    def names() -> list[str]:
        return [uri.removeprefix(f"{base}/") for uri in storage._objects]

    return Place(kind, storage, base, put, get, names)


def file_place(folder: Path, kind: str = "file") -> Place:
    base = f"{folder}/objects"

    def get(name: str) -> bytes | None:
        path = Path(f"{base}/{name}")
        return path.read_bytes() if path.is_file() else None

    def put(name: str, content: bytes) -> None:
        path = Path(f"{base}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def names() -> list[str]:
        found = (Path(top, name) for top, _, files in os.walk(base) for name in files)
        return [str(path.relative_to(base)) for path in found]

    storage = LocalStorage()
    return Place(kind, storage, f"file://{base}", put, get, names, keeps_metadata=False)


def gcs_place(server: GcsServer, bucket: str) -> Place:
    server.store.create_bucket(bucket)

    def get(name: str) -> bytes | None:
        try:
            return server.store.get(bucket, f"base/{name}").content
        except ApiError:
            return None

    def put(name: str, content: bytes) -> None:
        server.store.insert(bucket, f"base/{name}", content)

    def names() -> list[str]:
        listing = server.store.list(bucket, max_results=1_000_000)
        return [item.name.removeprefix("base/") for item in listing.items]

    storage = fast_gcs_storage()
    return Place("gs", storage, f"gs://{bucket}/base", put, get, names, close=storage.close)


@contextmanager
def impatient_gcs_storage(
    deadline_seconds: float, timeout_seconds: float = 2.0
) -> Iterator[GcsStorage]:
    """Yield a store that retries until a deadline, and waits `timeout_seconds` for one answer."""
    storage = GcsStorage(
        deadline_seconds=deadline_seconds,
        timeout_seconds=timeout_seconds,
        first_pause_seconds=0.01,
    )
    try:
        yield storage
    finally:
        storage.close()


def fast_gcs_storage() -> GcsStorage:
    """Return a store that tries again at once, for a server that is near."""
    return GcsStorage(deadline_seconds=30.0, timeout_seconds=20.0, first_pause_seconds=0.01)


def wrapped(place: Place) -> Place:
    """Return the place behind a faulty store that has no faults."""
    storage = FaultyStorage(place.storage, lambda operation, uri, number: None)
    return replace(place, kind=f"faulty-{place.kind}", storage=storage)


def without_nameless_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system have no files without a name, as most have not."""
    monkeypatch.delattr(os, "O_TMPFILE")


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file system have neither hard links nor files without a name, as on many sticks."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.delattr(os, "O_TMPFILE")
    monkeypatch.setattr(os, "link", refuse)


def without_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the disk: what lies in the page cache is all that a test can see."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def without_folder_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system lock no folders, as with NFS, which has no files without a name either."""
    flock = fcntl.flock

    def refuse_folders(fd: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(fd, operation)

    monkeypatch.delattr(os, "O_TMPFILE")
    monkeypatch.setattr(fcntl, "flock", refuse_folders)


def without_locks_and_sight(monkeypatch: pytest.MonkeyPatch, *unseen: str) -> None:
    """Let locks of files keep nobody out, and changers not see what is there (`unseen`, or all)."""
    real_look = files.look

    def look(path: str) -> os.stat_result | None:
        return None if not unseen or f"file://{path}" in unseen else real_look(path)

    monkeypatch.setattr(fcntl, "flock", lambda fd, operation: None)
    monkeypatch.setattr(local, "look", look)


@contextmanager
def registered(place: Place) -> Iterator[None]:
    """Let the registry give this store for its scheme, as long as the block lasts."""
    scheme = place.base_uri.partition("://")[0]
    factories, stores = dict(registry._factories), dict(registry._stores)
    registry.register(scheme, lambda: place.storage)
    try:
        yield
    finally:
        place.close()
        with registry._lock:
            registry._factories.clear()
            registry._factories.update(factories)
            registry._stores.clear()
            registry._stores.update(stores)
