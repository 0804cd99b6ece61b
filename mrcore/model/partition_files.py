"""The files of one partitioned part, as the object of its attempt lists them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mrcore.errors import DataError
from mrcore.storage.base import ObjectInfo
from mrcore.util.decoding import UNREADABLE


class PartitionFile(msgspec.Struct, frozen=True):
    """One staged file of a part."""

    folder: str
    """Folder below the output, such as `country=SE`."""
    object: ObjectInfo
    records: int
    digest: bytes
    """Digest of its schema."""


def encode(files: Sequence[PartitionFile]) -> bytes:
    """Return the list as the content of an object."""
    return msgspec.msgpack.encode(files)


def decode(data: bytes) -> tuple[PartitionFile, ...]:
    """Return what `encode` encoded; raise DataError for anything else."""
    try:
        return msgspec.msgpack.decode(data, type=tuple[PartitionFile, ...])
    except UNREADABLE as error:
        raise DataError(f"A list of partition files cannot be read ({error}).") from error
