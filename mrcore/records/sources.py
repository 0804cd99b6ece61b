"""The bytes of a piece of input: a range of a file, decompressed if its name says so."""

from __future__ import annotations

import bz2
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, cast

from mrcore.errors import DataError, NotFoundError, PreconditionFailedError
from mrcore.job import Compression
from mrcore.records.formats import compression_of
from mrcore.storage.registry import storage_for
from mrcore.tasks.spec import Piece

if TYPE_CHECKING:
    import pyarrow as pa

PAST_END_BYTES = 64 << 10
"""Read along with a range: nearly always the end of its last line lies there."""

_STORED_BYTES = 64 << 10


class Source(Protocol):
    """Bytes in order."""

    input_bytes: int
    """How much of the file, as it is stored, has been read so far."""

    def read(self, size: int, /) -> bytes:
        """Return the next `size` bytes, fewer only where the file ends, none behind its end."""
        ...


@contextmanager
def open_source(piece: Piece) -> Iterator[Source]:
    """Open the bytes of a piece.

    A file that is not compressed is read from the byte before `piece.start` (see
    `mrcore.records.lines`) and on beyond `piece.end`; a compressed one from its start to its end.
    Reading raises DataError for a file that is truncated, corrupt, or changed since it was listed.
    """
    compression = compression_of(piece.uri)
    if compression is not Compression.NONE:
        with open_file(piece) as file:
            yield _Decompressed(piece, file, compression)
        return
    source = _Range(piece)
    try:
        yield source
    finally:
        source.close()


@contextmanager
def open_file(piece: Piece) -> Iterator[BinaryIO]:
    """Open the stored bytes of the whole file, for reading at any place."""
    with _same_file(piece):
        file = storage_for(piece.uri).open_read(
            piece.uri, 0, piece.size_bytes, generation=piece.generation
        )
    with file:
        yield file


@contextmanager
def open_stream(piece: Piece) -> Iterator[tuple[pa.NativeFile, BinaryIO]]:
    """Open the content of the whole file for Arrow, and the stored file to see how far it is."""
    import pyarrow as pa

    compression = compression_of(piece.uri)
    with open_file(piece) as file:
        if compression is Compression.NONE:
            yield pa.PythonFile(cast(io.IOBase, file), mode="r"), file
        else:
            yield _decompress(file, compression), file


def _decompress(file: BinaryIO, compression: Compression) -> pa.NativeFile:
    """Return the content of a compressed file as a stream; it raises OSError or ArrowException."""
    import pyarrow as pa

    if compression is Compression.BZIP2:
        # Arrow's own decoder fails on a stream without content among others.
        return pa.PythonFile(_Bzip2Stream(file), mode="r")
    codec: Literal["gzip", "zstd"] = "gzip" if compression is Compression.GZIP else "zstd"
    return pa.CompressedInputStream(pa.PythonFile(cast(io.IOBase, file), mode="r"), codec)


@contextmanager
def _same_file(piece: Piece) -> Iterator[None]:
    """Say that a file has changed, where its store says that its generation is gone."""
    try:
        yield
    except (NotFoundError, PreconditionFailedError) as error:
        raise DataError(
            f"{piece.shown} was changed or deleted after the job had listed it: "
            "run the job again when its input is complete."
        ) from error


class _Range:
    """The bytes of a file from the one before `piece.start`, as far as they are asked for."""

    def __init__(self, piece: Piece) -> None:
        self.input_bytes = 0
        self._piece = piece
        self._next = max(0, piece.start - 1)
        self._file = self._open(min(piece.end + PAST_END_BYTES, piece.size_bytes))

    def _open(self, end: int) -> BinaryIO:
        piece = self._piece
        with _same_file(piece):
            return storage_for(piece.uri).open_read(
                piece.uri, self._next, end, generation=piece.generation
            )

    def read(self, size: int, /) -> bytes:
        """Return the next `size` bytes, fewer where the file or the first range ends."""
        piece = self._piece
        while True:
            with _same_file(piece):
                data = self._file.read(size)
            if data:
                self._next += len(data)
                self.input_bytes += len(data)
                return data
            if self._next >= piece.size_bytes:
                return data
            if self._next < min(piece.end + PAST_END_BYTES, piece.size_bytes):
                raise DataError(
                    f"{piece.shown} ends at byte {self._next}, but had {piece.size_bytes} bytes "
                    "when the job listed it: run the job again when its input is complete."
                )
            self._file.close()
            self._file = self._open(piece.size_bytes)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Decompressed:
    """The content of a compressed file, all of its members or frames, in bounded memory."""

    def __init__(self, piece: Piece, file: BinaryIO, compression: Compression) -> None:
        self.input_bytes = 0
        self._piece = piece
        self._file = file
        self._compression = compression
        self._stream = _decompress(file, compression)

    def read(self, size: int, /) -> bytes:
        """Return the next `size` bytes of the content."""
        import pyarrow as pa

        try:
            with _same_file(self._piece):
                data: bytes = self._stream.read(size)
        except (OSError, pa.ArrowException) as error:
            raise self._broken(error) from error
        self.input_bytes = self._file.tell()
        return data

    def _broken(self, error: Exception) -> DataError:
        shown, at = self._piece.shown, self._file.tell()
        if "Truncated" in str(error):
            return DataError(
                f"{shown} is truncated: its {self._compression} data ends in the middle, at byte "
                f"{at}; copy the file again."
            )
        return DataError(
            f"{shown} is not valid {self._compression} data, at or before byte {at} ({error}): "
            "copy the file again, or name it by what it is."
        )


class _Bzip2Stream(io.RawIOBase):
    """The content of all streams of a bz2 file, one behind the other."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._decoder = bz2.BZ2Decompressor()
        self._begun = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return the next `size` bytes, fewer only at the end."""
        blocks: list[bytes] = []
        while size > 0 and (block := self._some(size)):
            blocks.append(block)
            size -= len(block)
        return b"".join(blocks)

    def _some(self, limit: int) -> bytes:
        """Return at least one byte and at most `limit`, none at the end."""
        while True:
            stored = b""
            if self._decoder.eof:
                stored = self._decoder.unused_data
                self._decoder = bz2.BZ2Decompressor()
                self._begun = False
            if not stored and self._decoder.needs_input:
                stored = self._file.read(_STORED_BYTES)
                if not stored:
                    if self._begun:
                        raise OSError("Truncated compressed stream")
                    return b""
            self._begun = True
            if block := self._decoder.decompress(stored, limit):
                return block
