"""Output of a running attempt as an object: its end, behind the number of bytes before it."""

from __future__ import annotations

from typing import Final

from mrcore.errors import DataError

MAX_PARTIAL_BYTES: Final = 1 << 20
"""Bytes of the output so far that are stored each time: its end."""
_HEAD_BYTES: Final = 8


def encode_partial(text: bytes, size_bytes: int) -> bytes:
    """Return the object for the end of an output of this size."""
    return (size_bytes - len(text)).to_bytes(_HEAD_BYTES, "big") + text


def decode_partial(content: bytes) -> tuple[bytes, int]:
    """Return the end of an output, and the size of all of it; raise DataError."""
    if len(content) < _HEAD_BYTES:
        raise DataError("a partial log has no head")
    text = content[_HEAD_BYTES:]
    return text, int.from_bytes(content[:_HEAD_BYTES], "big") + len(text)
