"""Packs: copies of many journal entries in one object, so that a start makes few reads.

The leader writes them behind the journal, from entries of its own that are durable for certain. So
whatever is in a pack is in the journal, also in a late pack of a former leader. The entries stay
until a snapshot stands for them: they are the fence, and a pack that is lost or damaged costs
nothing but time.

A pack grows: a longer one takes its place, until it is full. Every method blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from mrcore.errors import AlreadyExistsError, NotFoundError
from mrcore.master.shell.deletions import delete_each
from mrcore.model import object_names
from mrcore.storage.base import ABSENT, ObjectInfo, Storage
from mrcore.util.decoding import UNREADABLE

log = logging.getLogger("mrcore.master")

FORMAT: Final = 1
"""Format of the packs that this version writes; packs of others are not read."""


class Pack(msgspec.Struct, frozen=True):
    """One object of the packs."""

    format: int
    first: int
    """Number of the first entry."""
    contents: tuple[bytes, ...]
    """Contents of the entries, as they lie in the journal."""


class PackName(msgspec.Struct, frozen=True, order=True):
    """The entries that a pack holds, as its name says."""

    first: int
    last: int
    size_bytes: int = 0


class LostPackError(Exception):
    """A pack cannot be read: the entries are to be read one by one."""


_DECODER: Final = msgspec.msgpack.Decoder(Pack)
_ENCODER: Final = msgspec.msgpack.Encoder()


def encode_pack(first: int, contents: Sequence[bytes]) -> bytes:
    """Return the content of the pack of entries, of which the first has number `first`."""
    return _ENCODER.encode(Pack(FORMAT, first, tuple(contents)))


class Packs:
    """The packs of one state."""

    def __init__(self, storage: Storage, state_uri: str) -> None:
        self._storage = storage
        self._state_uri = state_uri
        self._replaced: list[PackName] = []
        """Packs that were written here with one first entry: the newest two."""

    def write(self, first: int, contents: Sequence[bytes]) -> None:
        """Store the pack of entries that are in the journal, and delete one that it replaces.

        The one before it stays: somebody who listed the packs a moment ago may read it now.
        """
        name = PackName(first, first + len(contents) - 1)
        uri = object_names.pack_uri(self._state_uri, name.first, name.last)
        try:
            with self._storage.open_write(uri, expect=ABSENT, private=True) as writer:
                writer.write(encode_pack(first, contents))
                writer.commit()
        except AlreadyExistsError:
            pass  # its reply was lost
        shorter = [one for one in self._replaced if one.first == first]
        for one in shorter[:-1]:
            self._storage.delete(object_names.pack_uri(self._state_uri, one.first, one.last))
        self._replaced = [*shorter[-1:], name]

    def after(self, number: int) -> list[PackName]:
        """Return the packs with entries after `number`: by first entry, and the longest only."""
        longest: dict[int, PackName] = {}
        for name, _ in self._listed():
            if name.last > number:
                longest[name.first] = name  # listed in order, so the longest comes last
        return sorted(longest.values())

    def read(self, name: PackName) -> tuple[bytes, ...]:
        """Return the contents of its entries, in order; raise LostPackError."""
        uri = object_names.pack_uri(self._state_uri, name.first, name.last)
        try:
            pack = _DECODER.decode(self._storage.read(uri))
        except NotFoundError:
            raise LostPackError from None
        except UNREADABLE as error:
            log.warning("%s is damaged; its entries are read", uri, extra={"error": str(error)})
            raise LostPackError from None
        is_whole = len(pack.contents) == name.last - name.first + 1
        if pack.format != FORMAT or pack.first != name.first or not is_whole:
            raise LostPackError
        return pack.contents

    def unfit(self, name: PackName, reason: str) -> LostPackError:
        """Return the error for a pack whose entries are damaged, or those of another journal.

        A pack has the entries of one master, but for the one that took its epoch.
        """
        uri = object_names.pack_uri(self._state_uri, name.first, name.last)
        log.warning("%s does not fit; its entries are read", uri, extra={"error": reason})
        return LostPackError()

    def delete_covered(self, up_to: int) -> int:
        """Delete the packs without an entry after `up_to`; return their number."""
        return delete_each(self._storage, list(self.covered(up_to)))

    def covered(self, up_to: int) -> Iterator[ObjectInfo]:
        """Yield the packs without an entry after `up_to`."""
        return (info for name, info in self._listed() if name.last <= up_to)

    def _listed(self) -> Iterator[tuple[PackName, ObjectInfo]]:
        prefix = object_names.packs_prefix(self._state_uri)
        for info in self._storage.list(prefix):
            first, _, last = info.uri.removeprefix(prefix).partition("-")
            if all(len(part) == 20 and part.isascii() and part.isdigit() for part in (first, last)):
                yield PackName(int(first), int(last), info.size_bytes), info
