"""Entries of the journal as objects: their bytes, and which of them this version reads.

An entry has a checksum (`seals`): a disk may return other bytes than were written, and those could
be an entry too.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mrcore.errors import MrcoreError
from mrcore.master.core.facts import Fact
from mrcore.master.shell.seals import is_sealed_json, seal_json
from mrcore.model import object_names
from mrcore.util.decoding import UNREADABLE

FORMAT: Final = 4
"""Format of the entries that this version writes: a fact that is changed or goes needs a new
number."""
UNSEALED_FORMAT: Final = 3
"""Format of entries with the same facts and without a checksum, which this version reads too."""
UNKNOWN_EPOCH: Final = -1
"""Epoch of the entry before one that does not say it."""


class JournalError(MrcoreError):
    """The journal has a gap, or an object that cannot be read as a part of it."""


class GapError(JournalError):
    """An entry is missing: it never was there, or a snapshot has taken its place."""


class Entry(msgspec.Struct, frozen=True):
    """One object of the journal."""

    number: int
    epoch: int
    """Epoch of the master that wrote it."""
    writer: str
    """Random token of its process: an append whose reply was lost is recognised by it."""
    facts: tuple[Fact, ...]
    format: int = 1
    """Format of the facts; entries of the first format do not have the field."""
    after: int = UNKNOWN_EPOCH
    """Epoch of the entry before, so that nobody reads on after one that was replaced."""


class _Head(msgspec.Struct, frozen=True):
    """The part of an entry that can be read whatever its format."""

    number: int
    format: int = 1


_DECODER: Final = msgspec.json.Decoder(Entry)
_HEAD_DECODER: Final = msgspec.json.Decoder(_Head)
_ENCODER: Final = msgspec.json.Encoder()


def encode_entry(entry: Entry) -> bytes:
    """Return the content of an entry's object."""
    return seal_json(_ENCODER.encode(entry))


def decode_entry(content: bytes, state_uri: str) -> Entry:
    """Return the entry in an object.

    Raises JournalError for an entry of another version, one of UNREADABLE for damaged bytes.
    """
    is_sealed = is_sealed_json(content)
    if not is_sealed and _HEAD_DECODER.decode(content).format == FORMAT:
        raise msgspec.ValidationError("its checksum is missing")
    try:
        entry = _DECODER.decode(content)
    except msgspec.ValidationError:
        _HEAD_DECODER.decode(content)
        raise written_elsewhere(state_uri) from None  # an entry, with facts unknown here
    if entry.format not in (FORMAT, UNSEALED_FORMAT):
        raise written_elsewhere(state_uri)
    return entry


def is_written_by(content: bytes, writer: str) -> bool:
    """Return whether an entry was written by this process."""
    try:
        is_sealed_json(content)
        return _DECODER.decode(content).writer == writer
    except UNREADABLE:
        return False


def written_elsewhere(state_uri: str) -> JournalError:
    """Return the error for a state whose journal is of another version."""
    return JournalError(
        f"The journal of {object_names.shown(state_uri)} was written by another version "
        "of mrcore. Finish its jobs with that version, or start a new --state."
    )


def number_of(uri: str, prefix: str, kind: str) -> int:
    """Return the number that an object below a prefix is named by; raise JournalError."""
    name = uri.removeprefix(prefix)
    if len(name) != 20 or not (name.isascii() and name.isdigit()):
        raise JournalError(f"{uri} is not a {kind}. Remove it.")
    return int(name)
