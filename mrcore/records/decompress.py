"""The content of compressed files as streams: all members or frames, in bounded memory."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, cast

from mrcore.model.job import Codec

if TYPE_CHECKING:
    import pyarrow as pa

_STORED_BYTES = 64 << 10
TRUNCATED = "Truncated compressed stream"
"""In the errors of Arrow's streams and of ours."""


class Readable(Protocol):
    """Bytes in order."""

    def read(self, size: int, /) -> bytes:
        """Return the next `size` bytes, fewer only at the end."""
        ...


def decompressed(file: BinaryIO, codec: Codec) -> Readable:
    """Return the content of a compressed file as a stream; it raises OSError or ArrowException."""
    match codec:
        case Codec.GZIP:
            return Members(file, _Gzip)
        case Codec.BZIP2:
            return Members(file, bz2.BZ2Decompressor)
        case Codec.XZ:
            return Members(file, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ))
        case _:
            import pyarrow as pa

            name: Literal["zstd", "lz4"] = "zstd" if codec is Codec.ZSTD else "lz4"
            stored = pa.PythonFile(cast(io.IOBase, file), mode="r")
            return _ArrowStream(pa.CompressedInputStream(stored, name))


class _ArrowStream:
    """A stream of Arrow. Its own `read` never frees the memory of a read that fails."""

    def __init__(self, stream: pa.CompressedInputStream) -> None:
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        """Return the next `size` bytes, fewer only at the end."""
        return self._stream.read_buffer(size).to_pybytes()


class _Member(Protocol):
    """The decompressor of one member."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """`zlib` with the interface of `bz2` and `lzma`."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return not self._decoder.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._decoder.decompress(self._decoder.unconsumed_tail + data, max(max_length, 0))


class Members:
    """The content of all members of a file, one behind the other.

    Zeros behind a member are padding, as tapes and block devices leave it.
    """

    def __init__(self, file: BinaryIO, new_member: Callable[[], _Member]) -> None:
        self._file = file
        self._new_member = new_member
        self._member: _Member | None = None

    def read(self, size: int, /) -> bytes:
        """Return the next `size` bytes, fewer only at the end; raise OSError."""
        blocks: list[bytes] = []
        try:
            while size > 0 and (block := self._some(size)):
                blocks.append(block)
                size -= len(block)
        except (zlib.error, lzma.LZMAError, EOFError) as error:
            raise OSError(str(error)) from error
        return b"".join(blocks)

    def _some(self, limit: int) -> bytes:
        """Return at least one byte and at most `limit`, none at the end."""
        stored = b""
        while True:
            member = self._member
            if member is None or member.eof:
                stored = b"" if member is None else member.unused_data
                # Only a member that has begun may be padded: leading zeros are not a file.
                if member is not None:
                    stored = self._behind_zeros(stored)
                stored = stored or self._file.read(_STORED_BYTES)
                if not stored:
                    return b""
                member = self._member = self._new_member()
            elif member.needs_input:
                stored = self._file.read(_STORED_BYTES)
                if not stored:
                    raise OSError(TRUNCATED)
            block = member.decompress(stored, limit)
            stored = b""
            if block:
                return block

    def _behind_zeros(self, stored: bytes) -> bytes:
        """Return what follows the padding, some of it at least; none at the end of the file."""
        while not (rest := stored.lstrip(b"\0")):
            stored = self._file.read(_STORED_BYTES)
            if not stored:
                return b""
        return rest
