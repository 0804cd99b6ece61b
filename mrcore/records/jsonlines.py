"""Values from lines of JSON; a byte order mark at the start of a file is passed over."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import msgspec

from mrcore.records.batches import BrokenRecordError, OnBroken, refuse
from mrcore.records.lines import decode, line_starts, without_mark

_decode = msgspec.json.Decoder().decode


def parse_lines(
    block: bytes, offset: int, shown: str, on_broken: OnBroken = refuse
) -> tuple[list[object], Sequence[int] | Callable[[], Sequence[int]]]:
    """Return the value of each line that is not blank, and the lines' offsets (or their maker).

    `offset` is where the block starts in the file `shown`. `on_broken` gets each line that is not
    JSON.
    """
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    lines[0] = without_mark(lines[0], offset)
    try:
        return list(map(_decode, lines)), lambda: line_starts(block, offset)
    except (ValueError, RecursionError):
        # Some line is blank, broken, or one that only Python's own parser takes.
        return _one_by_one(lines, line_starts(block, offset), shown, on_broken)


def _one_by_one(
    lines: Sequence[bytes], starts: Sequence[int], shown: str, on_broken: OnBroken
) -> tuple[list[object], list[int]]:
    values: list[object] = []
    offsets: list[int] = []
    for line, offset in zip(lines, starts, strict=True):
        if line.strip():
            # Python's parser also takes lone surrogates in escapes, NaN and infinities, all of
            # which Python's `json.dumps` writes.
            try:
                values.append(json.loads(line.decode()))
                offsets.append(offset)
            except (ValueError, RecursionError) as error:
                on_broken(
                    BrokenRecordError(
                        f"{shown} has a line at byte {offset} that is not valid JSON ({error}). "
                        "Correct it, or choose the --input-format that the file has.",
                        offset,
                        decode(line),
                    )
                )
    return values, offsets
