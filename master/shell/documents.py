"""Small JSON objects of the state that are replaced by compare-and-swap, private to the master."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from mrcore.errors import AlreadyExistsError, MrcoreError, NotFoundError
from mrcore.storage.base import ABSENT, Storage
from mrcore.util.decoding import UNREADABLE

_Document = TypeVar("_Document", bound=msgspec.Struct)


def read_document(
    storage: Storage, uri: str, kind: type[_Document]
) -> tuple[_Document | None, str]:
    """Return a document, if there is one, and its generation."""
    while True:
        try:
            info = storage.stat(uri)
        except NotFoundError:
            return None, ABSENT
        try:
            content = storage.read(uri, generation=info.generation)
        except NotFoundError:
            continue  # replaced between the two calls
        return decode_document(content, kind, uri), info.generation


def find_document(storage: Storage, uri: str, kind: type[_Document]) -> _Document | None:
    """Return a document, if there is one."""
    try:
        content = storage.read(uri)
    except NotFoundError:
        return None
    return decode_document(content, kind, uri)


def create_or_read(storage: Storage, uri: str, fresh: _Document) -> _Document:
    """Return the document that is there, or create this one."""
    try:
        return decode_document(storage.read(uri), type(fresh), uri)
    except NotFoundError:
        pass
    try:
        write_document(storage, uri, fresh, ABSENT)
    except AlreadyExistsError:  # another master was first
        return decode_document(storage.read(uri), type(fresh), uri)
    return fresh


def write_document(storage: Storage, uri: str, document: msgspec.Struct, expect: str) -> None:
    """Write a document in place of the generation `expect`."""
    with storage.open_write(uri, expect=expect, durable=True, private=True) as writer:
        writer.write(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
        writer.commit()


def decode_document(content: bytes, kind: type[_Document], uri: str) -> _Document:
    """Return the document in some bytes; raise MrcoreError for anything else."""
    try:
        return msgspec.json.decode(content, type=kind)
    except UNREADABLE as error:
        raise MrcoreError(
            f"{uri} cannot be read ({error}). Restore it, or start a new --state."
        ) from None
