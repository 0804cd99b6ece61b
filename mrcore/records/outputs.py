"""Shared parts of the writers of all formats: compression, counts and checksums."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from mrcore.model.job import Compression
from mrcore.storage.base import Writer
from mrcore.util.crc32c import extend_crc32c
from mrcore.util.texts import text_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

CHUNK_BYTES = 1 << 20
"""Compressors are fed by chunks of this size exactly: what they give may depend on it."""


class PartCounts(msgspec.Struct, frozen=True):
    """Counts of a finished part."""

    records: int
    size_bytes: int
    """As stored, so after compression."""
    crc32c: int
    """CRC32C of the stored bytes."""
    schema_digest: bytes = b""
    """Digest of the schema, where the format has one: equal for equal column types."""


_ROWS: Final = b"rows:"
_GROWN: Final = b"grown:"


def rows_digest(names: Sequence[str]) -> bytes:
    """Return the digest of a part of rows with these columns: it tells them from pairs."""
    return _ROWS + hashlib.blake2b(repr(tuple(names)).encode(), digest_size=16).digest()


def has_rows(digest: bytes) -> bool:
    """Return whether a part with this digest has rows, and no pairs."""
    return digest.removeprefix(_GROWN).startswith(_ROWS)


def grown_digest(digest: bytes) -> bytes:
    """Return the digest of a part whose schema has grown, so that it has to be written anew."""
    return _GROWN + digest


def has_grown(digest: bytes) -> bool:
    """Return whether the schema of a part with this digest has grown while it was written."""
    return digest.startswith(_GROWN)


class Compressor(Protocol):
    """Takes bytes and gives fewer, sooner or later."""

    def compress(self, data: bytes | memoryview, /) -> bytes:
        """Take `data`; return what is ready."""
        ...

    def flush(self) -> bytes:
        """Return the rest, and end."""
        ...


def compressor(compression: Compression) -> Compressor | None:
    """Return a compressor whose output holds no time and no name, None for no compression."""
    match compression:
        case Compression.NONE:
            return None
        case Compression.GZIP:
            import zlib

            return zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        case Compression.BZIP2:
            import bz2

            return bz2.BZ2Compressor()
        case Compression.ZSTD:
            return _Zstd()


class _Zstd:
    """One zstd frame by pyarrow's codec, which writes to a file: this is the file."""

    def __init__(self) -> None:
        import pyarrow as pa

        self._ready = bytearray()
        self._sink = pa.PythonFile(_Collector(self._ready), mode="w")
        self._stream = pa.CompressedOutputStream(self._sink, "zstd")

    def compress(self, data: bytes | memoryview, /) -> bytes:
        self._stream.write(data)
        return self._taken()

    def flush(self) -> bytes:
        self._stream.close()
        return self._taken()

    def _taken(self) -> bytes:
        taken = bytes(self._ready)
        self._ready.clear()
        return taken


class _Collector(io.RawIOBase):
    """A file that keeps what is written in a buffer of its owner."""

    def __init__(self, buffer: bytearray) -> None:
        super().__init__()
        self._buffer = buffer

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        self._buffer += data
        return memoryview(data).nbytes


class Output:
    """Gathers bytes into chunks, compresses them and passes them to a sink."""

    def __init__(self, sink: Writer, compression: Compression) -> None:
        self.size_bytes = 0
        """Bytes given to the sink so far."""
        self.crc32c = 0
        self._sink = sink
        self._compressor = compressor(compression)
        self._parts: list[bytes | memoryview] = []
        self._held = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append; the buffer may not change afterwards."""
        self._parts.append(data)
        self._held += len(data)
        if self._held >= CHUNK_BYTES:
            self._drain()

    def finish(self) -> None:
        """Pass on all that is held; the sink is not committed."""
        self._drain()
        rest = b"".join(self._parts)
        self._parts.clear()
        if self._compressor is not None:
            rest = self._compressor.compress(rest) + self._compressor.flush()
        self._pass_on(rest)

    def _drain(self) -> None:
        """Pass on full chunks."""
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        if self._compressor is None:
            self._pass_on(data)
            data = b""
        else:
            full = len(data) - len(data) % CHUNK_BYTES
            for start in range(0, full, CHUNK_BYTES):
                self._pass_on(self._compressor.compress(data[start : start + CHUNK_BYTES]))
            data = data[full:]
        self._parts = [data] if data else []
        self._held = len(data)

    def _pass_on(self, data: bytes | memoryview) -> None:
        if data:
            self._sink.write(data)
            self.size_bytes += len(data)
            self.crc32c = extend_crc32c(self.crc32c, data)


_EXACT = frozenset((int, float, str, bytes, bool, type(None)))
MAX_LEVELS = 32
"""Lists and dicts within each other that parquet takes: readers refuse files of 50."""


def python_numbers(things: Sequence[Any]) -> Sequence[Any]:
    """Return things, the scalars of numpy made Python's, in lists, tuples and dicts too."""
    if _EXACT.issuperset(map(type, things)):
        return things
    return [nested_numbers(python_number(thing)) for thing in things]


def python_number(thing: Any) -> Any:
    """Return a scalar of numpy as Python's, any other object as it is.

    What numpy itself turns into a bare count, such as a time in nanoseconds, stays numpy's.
    """
    kind = type(thing)
    if kind.__module__ == "numpy" and getattr(thing, "ndim", None) == 0:
        found = thing.item()
        return thing if thing.dtype.kind in "mM" and isinstance(found, int) else found
    return thing


def nested_numbers(thing: Any, levels: int = MAX_LEVELS) -> Any:
    """Return a list, tuple or dict with the scalars of numpy that it holds made Python's."""
    kind = type(thing)
    if not levels or kind not in (list, tuple, dict):
        return thing
    if kind is dict:
        return {
            python_number(key): nested_numbers(python_number(item), levels - 1)
            for key, item in thing.items()
        }
    if _EXACT.issuperset(map(type, thing)):
        return thing
    return kind([nested_numbers(python_number(item), levels - 1) for item in thing])


def shortened(thing: object) -> str:
    """Return what a message shows of a key or value."""
    text = text_of(thing, ascii)
    return text if len(text) <= 80 else f"{text[:77]}..."
