"""Parts that stores share: the end of a writer, and a seekable stream over ranges."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Content = TypeVar("Content")


class Unfinished(ABC, Generic[Content]):
    """The content of a writer until its end: `commit`, or leaving the `with` block."""

    def __init__(self, content: Content) -> None:
        self._content: Content | None = content

    @property
    def content(self) -> Content:
        """Return the content; a writer may not be used any more after its end."""
        assert self._content is not None, "a writer was used after its end"
        return self._content

    @abstractmethod
    def let_go(self, content: Content) -> None:
        """Release the memory or file of the content; called once."""

    def end(self) -> None:
        """Let go of the content, unless that was done."""
        content, self._content = self._content, None
        if content is not None:
            self.let_go(content)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self.end()


class RangeSource(Protocol):
    """Something of a fixed size that can be read at any place."""

    def read_range(self, start: int, end: int) -> bytes:
        """Return bytes of [start, end) from `start` on; no bytes mean that the source ends."""
        ...

    def close(self) -> None:
        """Let go of what is held; called once."""
        ...


class RangeStream(io.RawIOBase):
    """A read-only, seekable stream over [0, size_bytes) of a source, for `io.BufferedReader`.

    One call of the source answers one call here, so the buffer size bounds the range size.
    """

    def __init__(self, source: RangeSource, size_bytes: int) -> None:
        super().__init__()
        self._source = source
        self._size_bytes = size_bytes
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, counted from the start of the range."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to `offset` from the start, the position or the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer as far as the range goes; return the number of bytes."""
        view = memoryview(buffer).cast("B")
        end = min(self._position + len(view), self._size_bytes)
        if end <= self._position:
            return 0
        data = self._source.read_range(self._position, end)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Close the source too."""
        if not self.closed:
            super().close()
            self._source.close()


class ReadAhead:
    """A `RangeSource` over a distant object: blocks are fetched before they are asked for.

    It does so only while reading goes straight on from where it was; a jump fetches what it is
    asked for. Holds at most `blocks_ahead` + 1 blocks. Not for several threads at once.
    """

    def __init__(
        self,
        fetch: Callable[[int, int], bytes],
        size_bytes: int,
        pool: Executor,
        *,
        block_bytes: int,
        blocks_ahead: int,
    ) -> None:
        self._fetch = fetch
        self._size_bytes = size_bytes
        self._pool = pool
        self._block_bytes = block_bytes
        self._blocks_ahead = blocks_ahead
        self._start = 0
        self._block = b""
        self._ahead: deque[tuple[int, Future[bytes]]] = deque()

    def read_range(self, start: int, end: int) -> bytes:
        """Return bytes from `start` on: at least one of them, at most up to `end`."""
        offset = start - self._start
        if not 0 <= offset < len(self._block):
            self._load(start, end)
            offset = 0
        return self._block[offset : offset + end - start]

    def _load(self, start: int, end: int) -> None:
        straight = start == self._start + len(self._block)
        if not straight:
            self._drop_ahead()
        if self._ahead and self._ahead[0][0] == start:
            self._block = self._ahead.popleft()[1].result()
        else:
            length = self._block_bytes if straight else end - start
            self._block = self._fetch(start, min(start + length, self._size_bytes))
        self._start = start
        if straight:
            self._fetch_ahead(start + len(self._block))

    def _fetch_ahead(self, position: int) -> None:
        if self._ahead:
            position = self._ahead[-1][0] + self._block_bytes
        while position < self._size_bytes and len(self._ahead) < self._blocks_ahead:
            end = min(position + self._block_bytes, self._size_bytes)
            self._ahead.append((position, self._pool.submit(self._fetch, position, end)))
            position = end

    def _drop_ahead(self) -> None:
        for _, future in self._ahead:
            future.cancel()
        self._ahead.clear()

    def close(self) -> None:
        """Forget what was fetched."""
        self._drop_ahead()
        self._block = b""
