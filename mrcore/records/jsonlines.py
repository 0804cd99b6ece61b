"""Values from lines of JSON; a byte order mark at the start of a file is passed over."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import msgspec

from mrcore.errors import DataError
from mrcore.records.lines import line_starts, without_mark

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
    lines[0] = without_mark(lines[0], offset)
    try:
        return list(map(_decode, lines)), lambda: line_starts(block, offset)
    except (ValueError, RecursionError):
        # Some line is blank, broken, or one that only Python's own parser takes.
        return _one_by_one(lines, line_starts(block, offset), shown)


def _one_by_one(
    lines: Sequence[bytes], starts: Sequence[int], shown: str
) -> tuple[list[object], list[int]]:
    values: list[object] = []
    offsets: list[int] = []
    for line, offset in zip(lines, starts, strict=True):
        if line.strip():
            # Python's parser also takes lone surrogates in escapes, NaN and infinities, all of
            # which Python's `json.dumps` writes.
            try:
                values.append(json.loads(line.decode()))
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{shown} has a line at byte {offset} that is not valid JSON ({error}): "
                    "correct it, or choose the --input-format that the file has."
                ) from error
            offsets.append(offset)
    return values, offsets
