"""A store that wraps another one and fails, for tests and simulations.

What fails is decided by a *plan*: a function of the operation, the object and a running number.
`random_faults` draws from a seeded generator, `script` follows a list. Operations are `stat`,
`read`, `open_read`, `commit` (of a writer), `list`, `delete`, `publish`, `sync` and `prune`.
"""

from __future__ import annotations

import enum
import io
import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from random import Random  # noqa: TID251 - the type only: a generator is always passed in
from typing import BinaryIO, TypeVar

from mrcore.errors import UnavailableError
from mrcore.storage.base import ObjectInfo, Storage, Writer
from mrcore.storage.places import Lock, NameKind, Reach
from mrcore.storage.streams import Unfinished

T = TypeVar("T")


class FaultKind(enum.Enum):
    """A way in which one operation fails."""

    BEFORE = "before"
    """It fails and nothing has happened."""
    AFTER = "after"
    """It has happened, and the reply is lost."""
    TRUNCATE = "truncate"
    """A read gives the first half only, and says nothing; other operations work."""


Plan = Callable[[str, str, int], FaultKind | None]
"""(operation, URI, how many operations came before it) -> what goes wrong, or None."""

Hook = Callable[[str, str], None]
"""(operation, URI); called before each operation, to delay it or to let others act."""


def random_faults(rng: Random, rates: Mapping[str, Mapping[FaultKind, float]]) -> Plan:
    """Return a plan that draws: `rates` is the probability of each kind by operation (or `*`)."""

    def plan(operation: str, uri: str, number: int) -> FaultKind | None:
        draw = rng.random()
        for kind, rate in rates.get(operation, rates.get("*", {})).items():
            if draw < rate:
                return kind
            draw -= rate
        return None

    return plan


def script(faults: Mapping[int, FaultKind]) -> Plan:
    """Return a plan that strikes the operations with these numbers, which count from 0."""
    return lambda operation, uri, number: faults.get(number)


class _FaultyWriter(Unfinished[Writer]):
    """A writer whose commit may fail."""

    def __init__(self, storage: FaultyStorage, uri: str, inner: Writer) -> None:
        super().__init__(inner)
        self._storage = storage
        self._uri = uri

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        return self.content.write(data)

    def commit(self) -> ObjectInfo:
        return self._storage.run("commit", self._uri, self.content.commit)

    def let_go(self, content: Writer) -> None:
        content.__exit__(None, None, None)


class FaultyStorage:
    """`inner`, with the faults of `plan`; see `mrcore.storage.base.Storage`.

    `error` makes what is raised, UnavailableError unless given.
    """

    def __init__(
        self,
        inner: Storage,
        plan: Plan,
        *,
        error: Callable[[str], BaseException] = UnavailableError,
        hook: Hook | None = None,
    ) -> None:
        self._inner = inner
        self._plan = plan
        self._error = error
        self._hook = hook
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def _draw(self, operation: str, uri: str) -> FaultKind | None:
        if self._hook is not None:
            self._hook(operation, uri)
        with self._lock:
            kind = self._plan(operation, uri, next(self._numbers))
        if kind is FaultKind.BEFORE:
            raise self._error(f"{operation} of {uri} was made to fail.")
        return kind

    def run(self, operation: str, uri: str, do: Callable[[], T]) -> T:
        """Run an operation of the inner store, unless it is to fail before."""
        kind = self._draw(operation, uri)
        result = do()
        if kind is FaultKind.AFTER:
            raise self._error(f"The reply to {operation} of {uri} was made to be lost.")
        return result

    def stat(self, uri: str) -> ObjectInfo:
        """Return what is known of the object."""
        return self.run("stat", uri, lambda: self._inner.stat(uri))

    def read(
        self, uri: str, start: int = 0, end: int | None = None, *, generation: str | None = None
    ) -> bytes:
        """Return the bytes [start, end), or the first half of them."""
        kind = self._draw("read", uri)
        content = self._inner.read(uri, start, end, generation=generation)
        return self._maybe_half(kind, "read", uri, content)

    def _maybe_half(
        self, kind: FaultKind | None, operation: str, uri: str, content: bytes
    ) -> bytes:
        if kind is FaultKind.AFTER:
            raise self._error(f"The reply to {operation} of {uri} was made to be lost.")
        return content[: len(content) // 2] if kind is FaultKind.TRUNCATE else content

    def open_read(
        self, uri: str, start: int = 0, end: int | None = None, *, generation: str | None = None
    ) -> BinaryIO:
        """Return a stream over [start, end), or over the first half of it."""
        kind = self._draw("open_read", uri)
        if kind is None:
            return self._inner.open_read(uri, start, end, generation=generation)
        content = self._inner.read(uri, start, end, generation=generation)
        return io.BytesIO(self._maybe_half(kind, "open_read", uri, content))

    def open_write(
        self,
        uri: str,
        *,
        expect: str | None = None,
        metadata: Mapping[str, str] | None = None,
        durable: bool = False,
        private: bool = False,
    ) -> Writer:
        """Start a new object; only its commit may fail."""
        inner = self._inner.open_write(
            uri, expect=expect, metadata=metadata, durable=durable, private=private
        )
        return _FaultyWriter(self, uri, inner)

    def list(
        self, prefix: str, *, recursive: bool = True, hidden: bool = True, start_after: str = ""
    ) -> Iterator[ObjectInfo]:
        """Yield the objects below the prefix; it fails as a whole or not at all."""
        yield from self.run(
            "list",
            prefix,
            lambda: [
                *self._inner.list(
                    prefix, recursive=recursive, hidden=hidden, start_after=start_after
                )
            ],
        )

    def delete(self, uri: str, *, generation: str | None = None) -> bool:
        """Delete the object."""
        return self.run("delete", uri, lambda: self._inner.delete(uri, generation=generation))

    def delete_all(self, objects: Iterable[ObjectInfo]) -> None:
        """Delete the objects, each of which may fail."""
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
        """Copy the source to its destination."""
        return self.run(
            "publish",
            destination,
            lambda: self._inner.publish(
                source, destination, expect=expect, metadata=metadata, durable=durable
            ),
        )

    def make_folders(self, folder_uris: Collection[str], *, below: str) -> None:
        """Make folders with durable names."""
        self.run("sync", below, lambda: self._inner.make_folders(folder_uris, below=below))

    def sync(self, folder_uri: str) -> None:
        """Make the publications in a folder durable."""
        self.run("sync", folder_uri, lambda: self._inner.sync(folder_uri))

    def prune(self, folder_uri: str, *, up_to: str | None = None, abandoned: bool = False) -> None:
        """Remove a folder that holds nothing."""
        self.run(
            "prune",
            folder_uri,
            lambda: self._inner.prune(folder_uri, up_to=up_to, abandoned=abandoned),
        )

    # Names and locks are those of the inner store, and do not fail.

    @property
    def reach(self) -> Reach:
        """Return which processes see the objects."""
        return self._inner.reach

    def shown(self, uri: str) -> str:
        """Return a URI as a person would type it."""
        return self._inner.shown(uri)

    def form_problem(self, uri: str) -> str | None:
        """Return how a URI has to be written, None if this one is."""
        return self._inner.form_problem(uri)

    def whole(self, uri: str) -> str | None:
        """Return what a URI names as a whole."""
        return self._inner.whole(uri)

    def resolved(self, uri: str) -> str:
        """Return a URI without the links on its way."""
        return self._inner.resolved(uri)

    def kind(self, uri: str) -> NameKind:
        """Return what a name stands for."""
        return self._inner.kind(uri)

    def first_unreadable(self, uris: Iterable[str]) -> tuple[str, str] | None:
        """Return the first of some listed objects that may not be read."""
        return self._inner.first_unreadable(uris)

    def check_writable(self, folder_uri: str) -> None:
        """Raise StorageError where no object can be made below a folder."""
        self._inner.check_writable(folder_uri)

    def protect(self, folder_uri: str, secrets: Iterable[str] = ()) -> bool:
        """Make a folder for this user alone."""
        return self._inner.protect(folder_uri, secrets)

    def lock(self, uri: str) -> Lock:
        """Lock the name for this process."""
        return self._inner.lock(uri)

    def is_locked(self, uri: str) -> bool:
        """Return whether a living process holds the lock of this name."""
        return self._inner.is_locked(uri)
