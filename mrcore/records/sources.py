"""The bytes of a piece of input: a range of a file, decompressed if its name says so."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, Protocol, cast

from mrcore.errors import DataError, NotFoundError, PreconditionFailedError
from mrcore.job import Compression
from mrcore.records.formats import compression_of
from mrcore.storage.registry import storage_for
from mrcore.tasks.spec import Piece

if TYPE_CHECKING:
    import pyarrow as pa

PAST_END_BYTES = 64 << 10
"""Read along with a range: nearly always the end of its last line lies there."""

_ARROW_CODECS: Final[dict[Compression, Literal["gzip", "bz2", "zstd"]]] = {
    Compression.GZIP: "gzip",
    Compression.BZIP2: "bz2",
    Compression.ZSTD: "zstd",
}


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
        stored = pa.PythonFile(cast(io.IOBase, file), mode="r")
        if compression is Compression.NONE:
            yield stored, file
        else:
            yield pa.CompressedInputStream(stored, _ARROW_CODECS[compression]), file


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
        import pyarrow as pa

        self.input_bytes = 0
        self._piece = piece
        self._file = file
        self._compression = compression
        self._stream = pa.CompressedInputStream(
            pa.PythonFile(cast(io.IOBase, file), mode="r"), _ARROW_CODECS[compression]
        )

    def read(self, size: int, /) -> bytes:
        """Return the next `size` bytes of the content."""
        try:
            with _same_file(self._piece):
                data: bytes = self._stream.read(size)
        except OSError as error:
            raise self._broken(error) from error
        self.input_bytes = self._file.tell()
        return data

    def _broken(self, error: OSError) -> DataError:
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
