"""Pieces that the stores share: a seekable stream over ranges, and CRC32C of any buffer."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Protocol

import google_crc32c

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


def extend_crc32c(crc: int, data: bytes | bytearray | memoryview) -> int:
    """Return the CRC32C of what `crc` covers followed by `data`."""
    # The C function takes nothing but `bytes`; a copy costs a tenth of what reading the data did.
    block = data if isinstance(data, bytes) else bytes(data)
    return int(google_crc32c.extend(crc, block))


class RangeSource(Protocol):
    """Something of a fixed size that can be read at any place."""

    def read_range(self, start: int, end: int) -> bytes:
        """Return the bytes [start, end), all of them; both lie within the source."""
        ...

    def close(self) -> None:
        """Let go of what is held; called once."""
        ...


class RangeStream(io.RawIOBase):
    """A read-only, seekable stream over [0, size_bytes) of a source, for `io.BufferedReader`.

    One call of the source answers one call here, so the buffer size decides the range size.
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
