"""Reading the slices of runs that a reduce task was given: ahead, in parallel, checked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

from mrcore.errors import CorruptRunError, InternalError, NotFoundError
from mrcore.model.task import RunSlice, TaskRef
from mrcore.shuffle.blocks import HEADER_BYTES, BlockHeader, decode_block
from mrcore.shuffle.columns import Columns
from mrcore.storage.base import Storage
from mrcore.storage.places import Reach
from mrcore.storage.registry import storage_for

RANGE_BYTES: Final = 8 << 20
STREAMS: Final = 16
"""Ranges in flight from an object store: latency, not bandwidth, is what one stream waits for."""


class LostRunError(InternalError):
    """The run of a task is gone or damaged; the task has to run again.

    `cause` is the end of a sentence that begins with the run, such as "is cut off".
    """

    def __init__(self, run: TaskRef, cause: str) -> None:
        super().__init__(cause)
        self.run = run


def read_slices(
    slices: Sequence[RunSlice],
    ahead_bytes: int,
    store_of: Callable[[str], Storage] = storage_for,
) -> Iterator[Columns]:
    """Yield the blocks of all slices, in order, with at most `ahead_bytes` read ahead.

    Raises LostRunError for a run that is gone or damaged, other StorageErrors as they come.
    """
    with ExitStack() as stack:
        ranges = _ranges(slices)
        datas: Iterator[bytes]
        if all(store_of(s.uri).reach is not Reach.EVERYWHERE for s in slices):
            # The page cache answers at once, and threads would only cost.
            datas = (_read(slices[i], start, end, store_of) for i, start, end in ranges)
        else:
            pool = stack.enter_context(ThreadPoolExecutor(STREAMS, "mrcore-read"))
            datas = _ahead(pool, slices, ranges, ahead_bytes, store_of)
            stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        for slice_ in slices:
            count = -(-slice_.length_bytes // RANGE_BYTES)
            try:
                yield from blocks_of(next(datas) for _ in range(count))
            except CorruptRunError as error:
                raise LostRunError(slice_.run, f"is damaged: {error}") from None


def _ranges(slices: Sequence[RunSlice]) -> Iterator[tuple[int, int, int]]:
    for index, slice_ in enumerate(slices):
        end = slice_.offset + slice_.length_bytes
        for start in range(slice_.offset, end, RANGE_BYTES):
            yield index, start, min(end, start + RANGE_BYTES)


def _read(slice_: RunSlice, start: int, end: int, store_of: Callable[[str], Storage]) -> bytes:
    try:
        data = store_of(slice_.uri).read(slice_.uri, start, end, generation=slice_.generation)
    except NotFoundError as error:
        raise LostRunError(slice_.run, f"is gone: {error}") from None
    if len(data) != end - start:
        raise LostRunError(slice_.run, f"is cut off: {slice_.uri}")
    return data


def _ahead(
    pool: ThreadPoolExecutor,
    slices: Sequence[RunSlice],
    ranges: Iterator[tuple[int, int, int]],
    ahead_bytes: int,
    store_of: Callable[[str], Storage],
) -> Iterator[bytes]:
    """Yield the bytes of each range, with later ones on their way."""
    flying: deque[tuple[int, Future[bytes]]] = deque()
    flying_bytes = 0
    more = True
    while True:
        while more and (not flying or flying_bytes < ahead_bytes):
            found = next(ranges, None)
            if found is None:
                more = False
                break
            index, start, end = found
            flying.append((end - start, pool.submit(_read, slices[index], start, end, store_of)))
            flying_bytes += end - start
        if not flying:
            return
        size, future = flying.popleft()
        yield future.result()
        flying_bytes -= size


def blocks_of(datas: Iterator[bytes]) -> Iterator[Columns]:
    """Yield the blocks in a stream of bytes, cut anywhere; raise CorruptRunError."""
    stream = _Stream(datas)
    while head := stream.take(HEADER_BYTES):
        header = BlockHeader.parse(head)
        body = stream.take(header.body_bytes)
        if len(body) < header.body_bytes:
            raise CorruptRunError("a block is cut off")
        yield decode_block(header, head, body)


class _Stream:
    """Bytes that come in pieces, to be taken in others; what is taken is copied once."""

    def __init__(self, datas: Iterator[bytes]) -> None:
        self._datas = datas
        self._data = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end."""
        taken = self._data[self._at : self._at + size]
        self._at += len(taken)
        if len(taken) == size:
            return taken
        pieces: list[bytes | memoryview] = [taken]
        while size := size - len(pieces[-1]):
            self._data, self._at = next(self._datas, b""), 0
            if not self._data:
                break
            pieces.append(memoryview(self._data)[:size])
            self._at = len(pieces[-1])
        return b"".join(pieces)
