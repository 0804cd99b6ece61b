"""Which bytes of which runs a reduce task reads; pure functions over what maps have reported.

The master calls some of these in its event loop, so what needs Arrow is imported where it is used.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from mrcore.tasks.spec import KeyRange, ReduceWork, RunSlice, TaskOutput

if TYPE_CHECKING:
    from mrcore.shuffle.columns import Columns


def merge_number_kinds(outputs: Iterable[TaskOutput]) -> dict[str, str]:
    """Return the number type of each position of a job's keys; raise KeyTypeError if mixed."""
    from mrcore.shuffle.keys import check_number_kinds

    return check_number_kinds(output.number_kinds for output in outputs)


def choose_boundaries(outputs: Iterable[TaskOutput], reduces: int) -> list[bytes]:
    """Return the `reduces - 1` keys, ascending, at which a total order is cut into parts.

    They are first keys of blocks (encoded, cut to 64 bytes), chosen so that the parts are about
    equal in bytes. Where there are too few blocks, boundaries repeat and parts stay empty.
    """
    blocks = sorted(
        (block.first_key, block.length_bytes) for output in outputs for block in output.blocks
    )
    if not blocks:
        return [b""] * (reduces - 1)
    before = [0, *accumulate(length for _, length in blocks)]
    total = before.pop()
    boundaries = []
    for index in range(1, reduces):
        # The first block that begins at or beyond this share of the bytes.
        place = bisect_left(before, total * index / reduces)
        boundaries.append(blocks[min(place, len(blocks) - 1)][0])
    return boundaries


def reduce_work(
    outputs: Sequence[tuple[int, TaskOutput]],
    reduces: int,
    index: int,
    boundaries: Sequence[bytes] | None = None,
) -> ReduceWork:
    """Return what reduce task `index` of `reduces` reads, given (map index, winner's output).

    In total order `boundaries` are those of `choose_boundaries`; else None.
    """
    ordered = sorted(outputs, key=lambda output: output[0])
    keys = KeyRange()
    if boundaries is not None:
        low = boundaries[index - 1] if index > 0 else None
        high = boundaries[index] if index < reduces - 1 else None
        keys = KeyRange(low, high)
    slices = []
    for map_index, output in ordered:
        if output.object is None:
            continue
        if boundaries is None:
            offset = sum(output.section_bytes[:index])
            length = output.section_bytes[index]
        else:
            offset, length = _covering(output, keys)
        if length:
            info = output.object
            slices.append(RunSlice(map_index, info.uri, info.generation, offset, length))
    return ReduceWork(tuple(slices), keys)


def _covering(output: TaskOutput, keys: KeyRange) -> tuple[int, int]:
    """Return offset and length of the blocks that may hold keys of the range."""
    if keys.low is not None and keys.low == keys.high:
        return 0, 0
    offset = length = at = 0
    blocks = output.blocks
    for number, block in enumerate(blocks):
        # First keys are cut, so a block may begin a little beyond what it says, never before.
        after = blocks[number + 1].first_key if number + 1 < len(blocks) else None
        below = keys.low is not None and after is not None and after < keys.low
        above = keys.high is not None and block.first_key >= keys.high
        if not below and not above:
            offset = offset if length else at
            length += block.length_bytes
        at += block.length_bytes
    return offset, length


def trim(batch: Columns, keys: KeyRange) -> Columns:
    """Return the rows of a sorted block whose encoded keys lie in [low, high)."""
    start, end = 0, len(batch)
    if keys.low is not None:
        start = _first_at(batch, keys.low)
    if keys.high is not None:
        end = _first_at(batch, keys.high)
    if start == 0 and end == len(batch):
        return batch
    return batch.slice(start, max(0, end - start))


def _first_at(batch: Columns, bound: bytes) -> int:
    """Return the number of the first row whose encoded key is `bound` or greater."""
    from mrcore.shuffle.keys import encoded_key

    return bisect_left(
        range(len(batch)),
        bound,
        key=lambda row: encoded_key(batch.key_kind, batch.keys, row),
    )
