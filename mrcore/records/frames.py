"""Frames: files of pickled values, which hold the items of in-memory jobs and large results.

A frame is a header and a pickled list of values. The header has the bytes of the pickle and the
number of the first value. A header of zeros follows the last frame, then the index: the start of
each frame, their number, and a magic number. So a file can be cut at frames.
"""

from __future__ import annotations

import pickle
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from mrcore.errors import DataError, InputError
from mrcore.model.task import Piece
from mrcore.plugin import by_value
from mrcore.plugin.running import running
from mrcore.records.batches import Batch, OnBroken
from mrcore.records.inputs import InputFile
from mrcore.records.sources import open_file
from mrcore.storage.registry import storage_for
from mrcore.util.object_copies import PROTOCOL, thawed_list, unpicklable_error

_HEADER: Final = struct.Struct("<QQ")
_END: Final = _HEADER.pack(0, 0)
_TAIL: Final = struct.Struct("<Q8s")
_MAGIC: Final = b"MRFRAMES"
_FRAMES: Final = 256
"""Frames of one list of items, and so the tasks that it can be cut for."""
_FRAME_VALUES: Final = 4_096
"""Values of one frame."""


class FrameWriter:
    """Writes frames to a function that takes bytes."""

    def __init__(
        self, write: Callable[[bytes], object], dump: Callable[[Any], bytes] | None = None
    ) -> None:
        """`dump` pickles a list of values; the default is `pickle` itself."""
        self._write = write
        self._dump = dump or _dumped
        self._starts = array("Q")
        self._values = 0
        self.size_bytes = 0

    def add(self, values: Sequence[Any]) -> None:
        """Write one frame, unless there are no values."""
        if not values:
            return
        data = self._dump(values)
        self._starts.append(self.size_bytes)
        self._put(_HEADER.pack(len(data), self._values))
        self._put(data)
        self._values += len(values)

    def close(self) -> None:
        """Write the index."""
        self._put(_END)
        self._put(self._starts.tobytes())
        self._put(_TAIL.pack(len(self._starts), _MAGIC))

    def _put(self, data: bytes) -> None:
        self._write(data)
        self.size_bytes += len(data)


def _dumped(values: Sequence[Any]) -> bytes:
    return pickle.dumps(values, PROTOCOL)


def item_frames(items: Sequence[Any]) -> bytes:
    """Return the items of an in-memory job as a file of frames; their classes travel by value."""
    size = min(max(1, -(-len(items) // _FRAMES)), _FRAME_VALUES)
    parts: list[bytes] = []
    writer = FrameWriter(parts.append, by_value.dump)
    remaining = iter(items)
    while some := list(islice(remaining, size)):
        writer.add(some)
    writer.close()
    return b"".join(parts)


def read_values(data: bytes) -> Iterator[list[Any]]:
    """Yield the values of a file of frames, a list for each; raise DataError for any other bytes.

    Values that were kept as they were at one moment come as copies (`mrcore.util.object_copies`).
    """
    at = 0
    while True:
        length, _ = _header(data[at : at + _HEADER.size], "A result")
        at += _HEADER.size
        if not length:
            return
        yield _loaded(data[at : at + length])
        at += length


def frame_batches(piece: Piece, on_broken: OnBroken) -> Iterator[Batch]:
    """Yield the values of a piece, a batch for each frame; offsets are numbers of values."""
    del on_broken  # a frame is read as a whole, so no value is skipped
    with open_file(piece) as file:
        file.seek(piece.start)
        while file.tell() < piece.end:
            length, first = _header(file.read(_HEADER.size), piece.shown)
            if not length:
                return
            values = _loaded(file.read(length))
            offsets = range(first, first + len(values))
            yield Batch(piece, values, offsets, _HEADER.size + length)


def examine(files: Sequence[InputFile], target_bytes: int) -> Mapping[str, Sequence[int]]:
    """Return the starts of the frames of each file; raise InputError for one without an index."""
    del target_bytes  # a value may be slow to map, however small it is
    return {file.uri: _starts(file) for file in files}


def _starts(file: InputFile) -> Sequence[int]:
    storage, size = storage_for(file.uri), file.size_bytes
    tail = storage.read(file.uri, max(0, size - _TAIL.size), generation=file.generation)
    count, magic = _TAIL.unpack(tail) if len(tail) == _TAIL.size else (0, b"")
    begin = size - _TAIL.size - 8 * count
    if magic != _MAGIC or begin < 0:
        raise InputError(f"{file.shown} does not hold pickled values. Name another format for it.")
    starts = array("Q")
    starts.frombytes(storage.read(file.uri, begin, size - _TAIL.size, generation=file.generation))
    return starts.tolist()


def _header(data: bytes, shown: str) -> tuple[int, int]:
    try:
        length, first = _HEADER.unpack(data)
    except struct.error:
        raise DataError(f"{shown} is truncated. Run the job again.") from None
    return length, first


def _loaded(data: bytes) -> list[Any]:
    try:
        with running():
            values = by_value.load(data)
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise unpicklable_error(error) from error
    return list(thawed_list(values))


def pairs_of_results(results: Iterable[bytes]) -> Iterator[tuple[Any, Any]]:
    """Yield the pairs of the results of a job, given in the order of its tasks."""
    for data in results:
        for keys, values in read_values(data):
            yield from zip(thawed_list(keys), thawed_list(values), strict=True)
