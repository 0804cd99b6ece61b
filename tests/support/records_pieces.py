"""Input files in memory, for tests of readers."""

import itertools

from mrcore.model.job import InputFormat
from mrcore.model.task import Piece
from mrcore.records.batches import Batch
from mrcore.records.inputs import InputFile
from mrcore.records.readers import open_batches
from mrcore.storage.base import ObjectInfo
from mrcore.storage.registry import storage_for

_numbers = itertools.count()


def store(content: bytes, name: str) -> ObjectInfo:
    """Store an object under a name that no other test uses."""
    uri = f"mem://records/{next(_numbers)}/{name}"
    with storage_for(uri).open_write(uri) as writer:
        writer.write(content)
        return writer.commit()


def input_file(content: bytes, name: str = "a.txt") -> InputFile:
    info = store(content, name)
    return InputFile(
        uri=info.uri, shown=name, size_bytes=info.size_bytes, generation=info.generation
    )


def piece_of(file: InputFile, start: int = 0, end: int | None = None) -> Piece:
    return file.piece(start, file.size_bytes if end is None else end)


def batches_of(
    content: bytes, input_format: InputFormat = InputFormat.TEXT, name: str = "a.txt"
) -> list[Batch]:
    return list(open_batches(piece_of(input_file(content, name)), input_format))


def records_of(
    content: bytes, input_format: InputFormat = InputFormat.TEXT, name: str = "a.txt"
) -> list[tuple[object, object]]:
    """Return the (key, value) pairs of a whole file."""
    return [pair for batch in batches_of(content, input_format, name) for pair in pairs_of(batch)]


def pairs_of(batch: Batch) -> list[tuple[object, object]]:
    return list(zip(batch.keys(), batch.values, strict=True))
