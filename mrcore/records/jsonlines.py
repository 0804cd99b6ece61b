"""Values from lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import msgspec

from mrcore.errors import DataError
from mrcore.records.lines import line_starts

_decode = msgspec.json.Decoder().decode


def parse_lines(
    block: bytes, offset: int, shown: str
) -> tuple[list[object], Sequence[int] | Callable[[], Sequence[int]]]:
    """Return the value of each line that is not blank, and the lines' offsets (or their maker).

    `offset` is where the block starts in the file `shown`. Raises DataError naming the line.
    """
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    try:
        return list(map(_decode, lines)), lambda: line_starts(block, offset)
    except (ValueError, RecursionError):
        # Some line is blank, broken, or one that only Python's own parser takes.
        return _one_by_one(lines, offset, shown)


def _one_by_one(lines: Sequence[bytes], offset: int, shown: str) -> tuple[list[object], list[int]]:
    values: list[object] = []
    offsets: list[int] = []
    for line in lines:
        if line.strip():
            # Python's parser also takes lone surrogates in escapes, NaN and infinities, all of
            # which Python's `json.dumps` writes.
            try:
                values.append(json.loads(line.decode()))
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{shown} has a line at byte {offset} that is not valid JSON ({error})."
                ) from error
            offsets.append(offset)
        offset += len(line) + 1
    return values, offsets
