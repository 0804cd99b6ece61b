"""The bytes of a piece of input: a range of a file, or the content of a compressed one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Protocol

from mrcore.errors import DataError, NotFoundError, PreconditionFailedError
from mrcore.model.formats import file_format
from mrcore.model.job import Codec
from mrcore.model.task import Piece
from mrcore.records.decompress import TRUNCATED, Readable, decompressed
from mrcore.records.signatures import HEAD_BYTES, check_head, kind_of
from mrcore.storage.registry import storage_for

PAST_END_BYTES = 64 << 10
"""Read along with a range: nearly always the end of its last line lies there."""

_LOOK_BYTES = 64 << 10
"""Read of a file before a job starts."""


class TruncatedError(DataError):
    """Compressed data ends in the middle."""


class Source(Protocol):
    """Bytes in order."""

    @property
    def input_bytes(self) -> int:
        """Return how much of the file, as it is stored, has been read so far."""
        ...

    def read(self, size: int, /) -> bytes:
        """Return the next `size` bytes, fewer only where the file ends, none behind its end."""
        ...


@contextmanager
def open_source(piece: Piece) -> Iterator[Source]:
    """Open the bytes of a piece.

    A file that is not compressed is read from the byte before `piece.start` (see
    `mrcore.records.lines`) and on beyond `piece.end`; a compressed one from its start to its end.
    Reading raises DataError for a file that is truncated, corrupt, or changed since it was listed,
    and where the first bytes show that it is of another format.
    """
    if piece.codec is not Codec.NONE:
        with open_file(piece) as file:
            yield _Checked(_Decompressed(piece, file), piece)
        return
    source = _Range(piece)
    try:
        yield source if piece.start else _Checked(source, piece)
    finally:
        source.close()


def check_first_bytes(piece: Piece) -> None:
    """Raise DataError where the first bytes of a file show that it is of another format.

    Reads a small range: what is wrong further on is found by the task.
    """
    with _same_file(piece):
        stored = storage_for(piece.uri).read(piece.uri, 0, _LOOK_BYTES, generation=piece.generation)
    source: Readable = io.BytesIO(stored)
    if piece.codec is not Codec.NONE:
        source = _Decompressed(piece, io.BytesIO(stored))
    with suppress(TruncatedError):  # a block may be longer than the range
        _check_head(source.read(HEAD_BYTES), piece)


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
def _same_file(piece: Piece) -> Iterator[None]:
    """Raise DataError for a file that has changed, where its generation is gone."""
    try:
        yield
    except (NotFoundError, PreconditionFailedError) as error:
        raise DataError(
            f"{piece.shown} was changed or deleted after the job had listed it. "
            "Run the job again when its input is complete."
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
                    "when the job listed it. Run the job again when its input is complete."
                )
            self._file.close()
            self._file = self._open(piece.size_bytes)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Decompressed:
    """The content of a compressed file."""

    def __init__(self, piece: Piece, file: BinaryIO) -> None:
        self.input_bytes = 0
        self._piece = piece
        self._file = file
        self._stream = decompressed(file, piece.codec)

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
        shown, codec, at = self._piece.shown, self._piece.codec, self._file.tell()
        if TRUNCATED in str(error):
            return TruncatedError(
                f"{shown} is truncated: its {codec} data ends in the middle, at byte "
                f"{at}; copy the file again."
            )
        self._file.seek(0)
        kind = kind_of(self._file.read(HEAD_BYTES))
        if kind is not None and kind.codec is not codec:
            return DataError(
                f"{shown} should be {codec} data by its name or stored encoding, but holds "
                f"{kind.name}: {kind.advice}."
            )
        return DataError(
            f"{shown} is not valid {codec} data, at or before byte {at} ({error}). "
            "Copy the file again, or name it by what it is."
        )


def _check_head(head: bytes, piece: Piece) -> None:
    check_head(head, piece.shown, file_format(piece.format).content, piece.codec)


class _Checked:
    """A source from the first byte of a file, which has to be of its format."""

    def __init__(self, source: Source, piece: Piece) -> None:
        self._source = source
        self._piece = piece
        self._begun = False

    @property
    def input_bytes(self) -> int:
        """Return how much of the stored file has been read."""
        return self._source.input_bytes

    def read(self, size: int, /) -> bytes:
        """Return the next bytes; raise DataError when the first are not of the format."""
        data = self._source.read(size)
        if not self._begun:
            self._begun = True
            _check_head(data, self._piece)
        return data
