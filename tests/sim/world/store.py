"""The one store of a simulation: objects in memory, judged as they change, and seen by masters.

Masters see it through `StoreView`, where each operation takes its time, fails, or is lost, as the
caller is cut off, slow or unlucky. Workers write to it directly, with faults of their own.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, Self

from mrcore.errors import UnavailableError
from mrcore.master.shell.snapshots import KEPT
from mrcore.model.ids import AttemptId
from mrcore.storage.base import ObjectInfo, Writer
from mrcore.storage.faulty import FaultKind, FaultyStorage
from mrcore.storage.memory import MemoryStorage
from tests.sim.oracles.history import PACKS, SNAPSHOTS, History
from tests.sim.oracles.outputs import Outputs
from tests.sim.world.timeline import Timeline
from tests.support.fake_clock import FakeClock


class Caller(Protocol):
    """A machine that uses the store."""

    def operate(self, operation: str, uri: str) -> None:
        """Let an operation take its time; raise UnavailableError for one that does not arrive."""
        ...

    def fault(self, operation: str) -> FaultKind | None:
        """Draw what goes wrong with an operation that arrives."""
        ...


class Store(MemoryStorage):
    """The objects, with what is remembered of those who wrote them."""

    def __init__(self, history: History, outputs: Outputs) -> None:
        super().__init__(FakeClock())
        self._names: list[str] = []
        """Names of all objects, in order."""
        self._history = history
        self._outputs = outputs
        self._damaged = ""
        self.made_of: dict[AttemptId, tuple[bytes, ...]] = {}
        """Digests of the runs that an attempt's output was made of, whether it is there or gone."""
        self.written: dict[AttemptId, None] = {}
        """Every attempt that ever ran: names are create-only, so none may run twice."""
        self.writers: dict[str, AttemptId] = {}
        """Attempts that wrote runs and staged parts, by the name of the object."""
        self.unreported: set[AttemptId] = set()
        """Attempts whose processes were gone when they had written: no master may have heard."""

    def put(self, uri: str, content: bytes, **how: Any) -> ObjectInfo:
        """Store an object in one step, and judge it."""
        info = super().put(uri, content, **how)
        self._history.stored(uri, content)
        return info

    def delete(self, uri: str, *, generation: str | None = None) -> bool:
        """Forget an object, after it was judged."""
        found = self._objects.get(uri)
        if found is None or generation not in (None, found.info.generation):
            return False
        self._history.deleted(uri, found.content)
        del self._names[bisect.bisect_left(self._names, uri)]
        return super().delete(uri, generation=generation)

    def publish(self, source: ObjectInfo, destination: str, **how: Any) -> ObjectInfo:
        """Store an object under a second name, and judge that."""
        info = super().publish(source, destination, **how)
        self._outputs.published(self, destination)
        return info

    def _store(self, uri: str, *of: Any) -> ObjectInfo:
        if uri not in self._objects:
            bisect.insort(self._names, uri)
        return super()._store(uri, *of)

    def list(
        self, prefix: str, *, recursive: bool = True, hidden: bool = True, start_after: str = ""
    ) -> Iterator[ObjectInfo]:
        """Yield the objects below the prefix, as they are at the first step."""
        if not recursive or not hidden:
            return super().list(prefix, recursive=recursive, hidden=hidden, start_after=start_after)
        names, found = self._names, []
        first = max(bisect.bisect_left(names, prefix), bisect.bisect_right(names, start_after))
        for uri in itertools.islice(names, first, None):
            if not uri.startswith(prefix):
                break
            found.append(self._objects[uri].info)
        return iter(found)

    def is_there(self, uri: str) -> bool:
        """Return whether there is an object."""
        return uri in self._objects

    def content(self, uri: str) -> bytes | None:
        """Return the content of an object, None where there is none."""
        found = self._objects.get(uri)
        return None if found is None else found.content

    def names(self, prefix: str) -> Sequence[str]:
        """Return the names of all objects below a prefix, in order."""
        return [info.uri for info in self.list(prefix)]

    def damage_newest_snapshot(self) -> None:
        """Damage the newest snapshot, where the one before it can be read."""
        found = [info.uri for info in self.list(SNAPSHOTS)]
        if len(found) < KEPT or self._damaged in found:
            return
        self._damaged = found[-1]
        super().put(self._damaged, self.read(self._damaged)[:-1])

    def damage_newest_pack(self) -> None:
        """Damage the newest pack."""
        for info in list(self.list(PACKS))[-1:]:
            super().put(info.uri, self.read(info.uri)[:-1])


class _Upload:
    """A new object on its way; see `mrcore.storage.base.Writer`."""

    def __init__(self, view: StoreView, uri: str, how: dict[str, Any]) -> None:
        self._view = view
        self._uri = uri
        self._how = how
        self._content = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._content = b""

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        self._content += data
        return len(data)

    def commit(self) -> ObjectInfo:
        return self._view.run("commit", self._uri, self._put)

    def _put(self) -> ObjectInfo:
        return self._view.store.put(self._uri, self._content, **self._how)


class StoreView(FaultyStorage):
    """The store, as whoever calls it sees it."""

    def __init__(self, store: Store, timeline: Timeline) -> None:
        super().__init__(store, lambda operation, uri, number: None)
        self.store = store
        self._timeline = timeline

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
        return _Upload(self, uri, {"expect": expect, "metadata": metadata})

    def list(self, prefix: str, **how: Any) -> Iterator[ObjectInfo]:
        """Yield the objects below the prefix; it fails before or not at all."""
        self._draw("list", prefix)
        yield from self.store.list(prefix, **how)

    def _draw(self, operation: str, uri: str) -> FaultKind | None:
        """Ask the caller: the plan of the class is drawn under a lock, where nobody may wait."""
        process = self._timeline.current
        if process is None or process.owner is None:
            return None
        process.owner.operate(operation, uri)
        kind = process.owner.fault(operation)
        if kind is FaultKind.BEFORE:
            raise UnavailableError(f"{operation} of {uri} was made to fail.")
        return kind
