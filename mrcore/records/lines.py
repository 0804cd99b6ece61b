"""Lines in bytes: which lines a byte range owns, and where each starts. Pure.

A line ends with a newline (LF, with the CR before it if there is one) or with the file. It belongs
to the range in which its first byte lies; so the reader of a range skips what it begins in the
middle of, and reads past its end to finish its last line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mrcore.errors import DataError

MAX_LINE_BYTES = 1 << 30
"""Largest line. A longer one is not text, or would not fit in memory."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Some editors put it before the text of a file."""

_NEWLINE = 10


def line_blocks(
    read: Callable[[int], bytes],
    start: int,
    end: int | None,
    block_bytes: int,
    *,
    shown: str,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, block) for the lines that start in [start, end): whole lines, never empty.

    `read(n)` gives the file's bytes in order, up to `n` a call and none at its end, the first being
    byte max(0, start - 1): it shows whether a line starts at `start`. `end` None is the file's end.
    A block has about `block_bytes`, or one longer line. Raises DataError for a line that is longer
    than `max_line_bytes`.
    """
    position, first = start, b""
    if start > 0:
        position, first = _behind_newline(read, start - 1, end, block_bytes)
        if end is not None and position >= end:
            return
    parts: list[bytes] = []
    held = 0
    for data, final in _filled(read, first, block_bytes, end is None):
        last = 0
        if end is not None and position + len(data) >= end:
            # The byte before `end` may be the newline of the last line that is ours.
            last = data.find(b"\n", max(0, end - 1 - position)) + 1
        high = last or (len(data) if final else data.rfind(b"\n") + 1)
        if high:
            parts.append(data[:high])
            yield position - held, parts[0] if len(parts) == 1 else b"".join(parts)
            parts, held = [], 0
        if last:
            return
        if high < len(data):
            parts.append(data[high:])
            held += len(data) - high
        position += len(data)
        if held > max_line_bytes:
            raise DataError(
                f"{shown} has a line of more than {max_line_bytes} bytes at byte "
                f"{position - held}. Split it, or leave the file out."
            )
    if held:
        yield position - held, b"".join(parts)


def _behind_newline(
    read: Callable[[int], bytes], position: int, end: int | None, block_bytes: int
) -> tuple[int, bytes]:
    """Return the place behind the first newline from `position` on, and what was read from there.

    Stops looking at `end`.
    """
    while (end is None or position < end) and (data := read(block_bytes)):
        newline = data.find(b"\n")
        if newline >= 0:
            return position + newline + 1, data[newline + 1 :]
        position += len(data)
    return position, b""


def _filled(
    read: Callable[[int], bytes], first: bytes, block_bytes: int, to_end: bool
) -> Iterator[tuple[bytes, bool]]:
    """Yield `first` and what follows in blocks; when reading to the end, tell which is the last.

    That spares the end of a file that has no newline a block of its own.
    """
    data = first or read(block_bytes)
    final = False
    while data:
        while to_end and not final and len(data) < block_bytes:
            more = read(block_bytes - len(data))
            data += more
            final = not more
        yield data, final
        data = b"" if final else read(block_bytes)


def without_mark(block: bytes, offset: int) -> bytes:
    """Return a block that lies at `offset` without the byte order mark of its file."""
    return block if offset else block.removeprefix(_BYTE_ORDER_MARK)


def line_starts(block: bytes, offset: int) -> list[int]:
    """Return the offset of each line of a block whose first byte lies at `offset`."""
    import numpy as np  # not in a master, which plans by this module

    newlines = np.flatnonzero(np.frombuffer(block, np.uint8) == _NEWLINE)
    if block.endswith(b"\n"):
        newlines = newlines[:-1]
    return [offset, *(newlines + (offset + 1)).tolist()]


def decode(block: bytes) -> str:
    """Return bytes as text; what is not UTF-8 becomes lone surrogates, and comes out again."""
    return block.decode("utf-8", "surrogateescape")


def split_lines(block: bytes) -> list[str]:
    """Return the lines of a block without their ends."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    # `str.splitlines` would also split at form feeds, U+2028 and others.
    lines = decode(block).split("\n")
    if not lines[-1]:
        lines.pop()
    return lines
