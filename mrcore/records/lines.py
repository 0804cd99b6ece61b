"""Lines in bytes: which lines a byte range owns, and where each starts. Pure.

A line ends with a newline (LF, with the CR before it if there is one) or with the file. It belongs
to the range in which its first byte lies; so the reader of a range skips what it begins in the
middle of, and reads past its end to finish its last line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from mrcore.errors import DataError

MAX_LINE_BYTES = 1 << 30
"""A longer line is refused: it is no text, or would not fit in memory."""

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
    byte max(0, start - 1): it tells whether a line starts at `start`. `end` None is the file's end.
    A block has about `block_bytes`, or one longer line. Raises DataError for a line that is longer
    than `max_line_bytes`.
    """
    position = max(0, start - 1)
    skipping = start > 0
    parts: list[bytes] = []
    held = 0
    while data := read(block_bytes):
        ended = False
        while end is None and len(data) < block_bytes and not ended:
            more = read(block_bytes - len(data))
            data += more
            ended = not more
        low = 0
        if skipping:
            low = data.find(b"\n") + 1
            if not low:
                position += len(data)
                if end is not None and position >= end:
                    return
                continue
            skipping = False
            if end is not None and position + low >= end:
                return
        last = 0
        if end is not None and position + len(data) >= end:
            # The byte before `end` may be the newline of the last line that is ours.
            last = data.find(b"\n", max(low, end - 1 - position)) + 1
        high = last or (len(data) if ended else data.rfind(b"\n", low) + 1)
        if high:
            parts.append(data[low:high])
            yield position + low - held, parts[0] if len(parts) == 1 else b"".join(parts)
            parts, held, low = [], 0, high
        if last:
            return
        if low < len(data):
            parts.append(data[low:])
            held += len(data) - low
        position += len(data)
        if held > max_line_bytes:
            raise DataError(
                f"{shown} has a line of more than {max_line_bytes} bytes at byte "
                f"{position - held}: read it with --input-format blocks or whole, or split it."
            )
    if held:
        yield position - held, b"".join(parts)


def line_starts(block: bytes, offset: int) -> list[int]:
    """Return the offset of each line of a block whose first byte lies at `offset`."""
    newlines = np.flatnonzero(np.frombuffer(block, np.uint8) == _NEWLINE)
    if block.endswith(b"\n"):
        newlines = newlines[:-1]
    return [offset, *(newlines + (offset + 1)).tolist()]


def decode(block: bytes) -> str:
    """Return bytes as text; what is not UTF-8 becomes lone surrogates, and comes out again."""
    return block.decode("utf-8", "surrogateescape")


def split_lines(block: bytes) -> list[str]:
    """Return the lines of a block without their ends."""
    text = decode(block)
    # `str.splitlines` would also split at form feeds, U+2028 and others.
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return lines
