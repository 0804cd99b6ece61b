"""Input files in memory, for tests of readers."""

import itertools
from collections.abc import Iterator, Sequence

import msgspec

from mrcore.model.formats import format_of_file
from mrcore.model.task import Piece, Split
from mrcore.records.batches import Batch, OnBroken, refuse
from mrcore.records.codecs import without_extension
from mrcore.records.inputs import InputFile, listed
from mrcore.records.readers import open_batches
from mrcore.records.splits import cut
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
    return listed(info, name, "text")


def piece_of(file: InputFile, start: int = 0, end: int | None = None) -> Piece:
    return file.piece(start, file.size_bytes if end is None else end)


def read_as(piece: Piece, job_format: str, on_broken: OnBroken = refuse) -> Iterator[Batch]:
    """Read a piece as a job of this input format would."""
    found = format_of_file(without_extension(piece.uri), job_format).name
    return open_batches(msgspec.structs.replace(piece, format=found), on_broken)


def cut_as(files: Sequence[InputFile], job_format: str, slots: int) -> list[Split]:
    """Cut files as a job of this input format would."""
    found = (
        msgspec.structs.replace(
            file, format=format_of_file(without_extension(file.uri), job_format).name
        )
        for file in files
    )
    return cut(list(found), slots)


def batches_of(content: bytes, input_format: str = "text", name: str = "a.txt") -> list[Batch]:
    return list(read_as(piece_of(input_file(content, name)), input_format))


def records_of(
    content: bytes, input_format: str = "text", name: str = "a.txt"
) -> list[tuple[object, object]]:
    """Return the (key, value) pairs of a whole file."""
    return [pair for batch in batches_of(content, input_format, name) for pair in pairs_of(batch)]


def pairs_of(batch: Batch) -> list[tuple[object, object]]:
    return list(zip(batch.keys(), batch.values, strict=True))
