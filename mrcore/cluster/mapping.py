"""`Client.map`: a function over many items, in chunks, with the results in order."""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import queue
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Generic, Literal, Self, TypeVar, cast

from mrcore.calls import payload
from mrcore.client.option_values import count
from mrcore.cluster.calls import Calls
from mrcore.cluster.futures import CallFuture
from mrcore.cluster.options import CallOptions
from mrcore.cluster.outcomes import error_of_item
from mrcore.cluster.progress import Bar
from mrcore.cluster.references import References, argument_error, unfolded
from mrcore.errors import MrcoreError, UsageError
from mrcore.util.clock import SYSTEM, Clock

T = TypeVar("T")
Chunk = CallFuture[payload.Outcomes]
News = queue.SimpleQueue[tuple[weakref.ref[Chunk], int]]

MAX_CHUNK: Final = 5_000
"""Items of a chunk whose length is chosen here."""
CHUNK_SECONDS: Final = 0.25
"""Time that such a chunk should take."""
CHUNKS_PER_SLOT: Final = 4
"""Chunks in flight for each slot, so that none waits for the next one."""
CALLS_IN_FLIGHT: Final = 2_000
"""Items in flight at least, where the length of chunks was given."""
ITEMS_KEPT: Final = 100_000
"""Items that are in flight or whose results were not drawn yet."""
SLOTS_SECONDS: Final = 5.0
"""Age at which the number of slots is asked for again: workers come and go while a map runs."""
_TICK_SECONDS: Final = 0.25


class Pacer:
    """Length of the next chunk, from how long items have taken. Pure: times are passed in."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._sent = 0
        self._done = 0

    def ended(self, items: int) -> None:
        """Note that items have ended."""
        self._done += items

    def next(self, elapsed_seconds: float, slots: int) -> int:
        """Return the length of the next chunk, `elapsed_seconds` after the first."""
        size = 1
        if self._done and elapsed_seconds > 0:
            item_seconds = elapsed_seconds * slots / self._done
            size = int(CHUNK_SECONDS / item_seconds)
        if self._total is not None:
            # Near the end chunks get shorter, so that all slots end at the same time.
            size = min(size, (self._total - self._sent) // (2 * slots))
        size = max(1, min(MAX_CHUNK, size))
        self._sent += size
        return size


class SlotCount:
    """Number of slots of a cluster, which is asked for again when it is old."""

    def __init__(self, ask: Callable[[], int], clock: Clock = SYSTEM) -> None:
        self._ask = ask
        self._clock = clock
        self._known = ask()
        self._asked = clock.monotonic()

    def __call__(self) -> int:
        """Return the number; it stays what it was while the master does not answer."""
        now = self._clock.monotonic()
        if now - self._asked >= SLOTS_SECONDS:
            with contextlib.suppress(MrcoreError):
                self._known = self._ask()
            self._asked = self._clock.monotonic()
        return self._known


class Mapping:
    """Function and options that the calls of one map share."""

    def __init__(
        self,
        *,
        calls: Calls,
        options: CallOptions,
        function: Callable[..., Any],
        slots: Callable[[], int],
        chunksize: int | Literal["auto"],
    ) -> None:
        """Check `chunksize`; raise UsageError, and PicklingError for the function.

        `slots` returns the number of slots of the cluster, which may change.
        """
        if chunksize != "auto" and count("chunksize", chunksize) < 1:
            raise UsageError('chunksize is less than 1. Give a number of items, or "auto".')
        self._calls = calls
        self._options = options
        self._made: list[types.FunctionType] = []
        function, self._shared, self._keywords = unfolded(function, (), {})
        self._function = payload.dump_function(function, self._made)
        shared = (*self._shared, *self._keywords.values())
        self._futures = len({id(each) for each in shared if isinstance(each, CallFuture)})
        self.slots = slots
        self.chunksize = None if chunksize == "auto" else chunksize

    def limit(self) -> int:
        """Return the number of chunks that may be in flight."""
        chunks = self.slots() * CHUNKS_PER_SLOT
        return chunks if self.chunksize is None else max(chunks, CALLS_IN_FLIGHT // self.chunksize)

    def send(self, items: list[tuple[Any, ...]], first: int) -> list[tuple[Chunk, int]]:
        """Send items and return their chunks, with the number of items of each.

        `first` is the number of the first item.

        An item with a future among its arguments is a chunk of its own: if that call failed, only
        this item fails. Raises PicklingError for an item that cannot travel.
        """
        made = list(self._made)
        with References(self._calls) as references:
            given = [(*self._shared, *item) for item in items] if self._shared else items
            data = payload.dump_items(given, references, made, self._keywords, first)
            # Futures that are arguments for all items fail all of them.
            own = len(references.needs) > self._futures or references.failed
            if len(items) == 1 or not own:
                return [(self._send_chunk(references, data, made), len(items))]
        return [chunk for at, item in enumerate(items, first) for chunk in self.send([item], at)]

    def _send_chunk(
        self, references: References, data: bytes, made: list[types.FunctionType]
    ) -> Chunk:
        if references.failed is not None:
            return CallFuture(None, argument_error(references.failed))
        pending = references.make(self._options, self._function, data, made=made, each=True)
        chunk: Chunk = CallFuture(pending)
        self._calls.add(pending, chunk)
        return chunk


class MapResult(Iterator[T], Generic[T]):
    """The results of a map, in the order of the items; each can be drawn once.

    Drawing them also sends the next items, so a map whose results nobody draws stops after a while.
    """

    def __init__(
        self,
        mapping: Mapping,
        iterables: tuple[Iterable[Any], ...],
        *,
        name: str,
        progress: bool | None,
        errors: Literal["raise", "return"],
        clock: Clock = SYSTEM,
    ) -> None:
        if errors not in ("raise", "return"):
            raise UsageError('errors is neither "raise" nor "return". Give one of the two.')
        if not iterables:
            raise UsageError("There is nothing to map over. Give at least one iterable.")
        self._mapping = mapping
        self._errors = errors
        self._clock = clock
        total = _length(iterables)
        self._items = zip(*iterables, strict=False)
        self._pacer = Pacer(total)
        self._chunks: collections.OrderedDict[Chunk, range] = collections.OrderedDict()
        """Numbers of the items of each chunk that was sent and not drawn."""
        self._news: News = queue.SimpleQueue()
        """Chunks that have ended, in the order in which they did, and their numbers of items."""
        self._drawing = threading.RLock()
        """Held while a result is drawn: several threads may draw from one map."""
        self._in_flight = self._kept = self._sent = 0
        self._is_exhausted = False
        self._ready: collections.deque[Any] = collections.deque()
        self._begun = clock.monotonic()
        self._bar = Bar(name, total, is_shown=progress, clock=clock)
        self._feed()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """Wait for the next result and return it, or raise what the function raised for it."""
        try:
            with self._drawing:
                while not self._ready:
                    if not self._chunks:
                        self._bar.close()
                        raise StopIteration
                    chunk = next(iter(self._chunks))
                    self._wait(chunk)
                    self._draw(chunk)
                return self._pop()
        except KeyboardInterrupt:
            self.cancel()
            raise

    def as_completed(self) -> Iterator[T]:
        """Yield results as they come; within a chunk they stay in order."""
        try:
            # Their news may have been taken while an earlier chunk was waited for.
            ended = collections.deque(chunk for chunk in self._chunks if chunk.done())
            while True:
                while self._ready:
                    yield self._pop()
                if not self._chunks:
                    self._bar.close()
                    return
                chunk = ended.popleft() if ended else self._take_news()
                if chunk is not None and chunk in self._chunks:
                    self._draw(chunk)
        except KeyboardInterrupt:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Cancel what has not ended; no more results can be drawn."""
        self._is_exhausted = True
        for chunk in self._chunks:
            chunk.cancel()
        self._chunks.clear()
        self._ready.clear()
        self._bar.close()

    close = cancel

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def __del__(self) -> None:
        """Cancel what nobody can draw any more."""
        for chunk in getattr(self, "_chunks", ()):
            chunk.cancel()

    def __reduce__(self) -> tuple[Any, ...]:
        """Refuse to be pickled: results come to this program."""
        raise TypeError("the results of a map stay in the program that draws them, as a list")

    def __repr__(self) -> str:
        """Return how far it is."""
        return f"<MapResult: {self._bar.line()}>"

    def _repr_html_(self) -> str:
        from mrcore.cluster.tables import bar_html

        return bar_html(self._bar.fraction(), self._bar.line())

    def _pop(self) -> T:
        value = self._ready.popleft()
        if self._errors == "raise" and isinstance(value, _Failed):
            self.cancel()
            if isinstance(value.error, StopIteration):
                # Raised here it would look like the end of the results.
                raise RuntimeError("The function raised StopIteration.") from value.error
            raise value.error
        found: Any = value.error if isinstance(value, _Failed) else value
        return cast("T", found)

    def _draw(self, chunk: Chunk) -> None:
        """Take the results of a chunk that has ended."""
        items = self._chunks.pop(chunk, None)
        if items is None:  # another thread has cancelled the map
            return
        self._kept -= len(items)
        try:
            outcomes = chunk.result()
        except Exception as error:  # noqa: BLE001 - it is what the function raised, of any class
            self._ready.extend(_Failed(error) for _ in items)
        else:
            for at, (item, value) in enumerate(zip(items, outcomes.values, strict=True)):
                failure = outcomes.failures.get(at)
                failed = None if failure is None else _Failed(error_of_item(failure, item))
                self._ready.append(value if failed is None else failed)
        self._feed()

    def _wait(self, chunk: Chunk) -> None:
        while not chunk.done():
            self._take_news()
        while not self._news.empty():
            self._take_news()

    def _take_news(self) -> Chunk | None:
        """Wait a while for the end of any chunk, and send more in its place; return which it is."""
        try:
            chunk, items = self._news.get(timeout=_TICK_SECONDS)
        except queue.Empty:
            self._bar.draw()
            return None
        self._in_flight -= 1
        self._pacer.ended(items)
        self._bar.add(items)
        self._feed()
        return chunk()

    def _feed(self) -> None:
        """Send chunks while there is room for them."""
        while (
            not self._is_exhausted
            and self._in_flight < self._mapping.limit()
            and self._kept < ITEMS_KEPT
        ):
            size = self._mapping.chunksize
            if size is None:
                elapsed = self._clock.monotonic() - self._begun
                size = self._pacer.next(elapsed, self._mapping.slots())
            items = list(itertools.islice(self._items, size))
            if not items:
                self._is_exhausted = True
                return
            first = self._sent
            self._sent += len(items)
            for chunk, number in self._mapping.send(items, first):
                self._chunks[chunk] = range(first, first + number)
                first += number
                self._in_flight += 1
                self._kept += number
                chunk.when_done(functools.partial(_report, self._news, number))


def _report(news: News, items: int, chunk: Chunk) -> None:
    """Report the end of a chunk; this keeps neither it nor the map, which may be given up."""
    news.put((weakref.ref(chunk), items))


class _Failed:
    """An item whose function raised."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _length(iterables: tuple[Iterable[Any], ...]) -> int | None:
    """Return the number of items, where all iterables know theirs."""
    lengths = []
    for one in iterables:
        try:
            lengths.append(len(one))  # type: ignore[arg-type]
        except TypeError:
            return None
    return min(lengths)
