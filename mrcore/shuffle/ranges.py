"""Byte ranges of runs for each task that reads them: pure functions over what tasks reported.

The master calls some of these in its event loop, so what needs Arrow is imported where it is used.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from mrcore.model.task import BlockKey, KeyRange, RunInput, RunSlice, TaskOutput, TaskRef

if TYPE_CHECKING:
    from mrcore.shuffle.columns import Columns


def merge_number_kinds(outputs: Iterable[TaskOutput]) -> dict[str, str]:
    """Return the number type of each position of a job's keys; raise KeyTypeError if mixed."""
    from mrcore.shuffle.keys import check_number_kinds

    return check_number_kinds(output.number_kinds for output in outputs)


def choose_boundaries(outputs: Iterable[TaskOutput], tasks: int) -> list[bytes]:
    """Return the `tasks - 1` keys, ascending, at which a total order is cut into parts.

    They are first keys of blocks (encoded and cut), chosen so that the parts are about equal in
    bytes. A key that fills more than a part gets one, and the parts behind it share what is left.
    Where there are too few different keys, boundaries repeat and parts stay empty.
    """
    blocks = sorted(
        (block.first_key, block.length_bytes) for output in outputs for block in output.blocks
    )
    if not blocks:
        return [b""] * (tasks - 1)
    keys = [key for key, _ in blocks]
    before = [0, *accumulate(length for _, length in blocks)]
    total = before.pop()
    boundaries: list[bytes] = []
    start = 0
    for parts in range(tasks, 1, -1):
        # The first block that begins at or beyond this share of the bytes that are left, and with
        # another key than the part itself.
        share = before[start] + (total - before[start]) / parts
        place = max(bisect_left(before, share), bisect_right(keys, keys[start]))
        if place == len(keys):
            boundaries += [boundaries[-1] if boundaries else keys[-1]] * (parts - 1)
            break
        boundaries.append(keys[place])
        start = bisect_left(keys, keys[place])
    return boundaries


def section_starts(output: TaskOutput) -> Sequence[int]:
    """Return where each section of a run begins (in total order: each block), and the last ends."""
    lengths = output.section_bytes or [block.length_bytes for block in output.blocks]
    return array("Q", accumulate(lengths, initial=0))


def run_input(
    outputs: Sequence[tuple[TaskRef, TaskOutput]],
    tasks: int,
    index: int,
    boundaries: Sequence[bytes] | None = None,
    starts: Sequence[Sequence[int]] | None = None,
) -> RunInput:
    """Return what task `index` of `tasks` reads, given the tasks that wrote with their outputs.

    In total order `boundaries` are those of `choose_boundaries`; else None. `starts` are the
    `section_starts` of each output: a caller that asks for many tasks passes them, since summing
    them anew is quadratic in the number of tasks.
    """
    if starts is None:
        starts = [section_starts(output) for _, output in outputs]
    keys = KeyRange()
    if boundaries is not None:
        low = boundaries[index - 1] if index > 0 else None
        high = boundaries[index] if index < tasks - 1 else None
        keys = KeyRange(low, high)
    slices = []
    ordered = sorted(zip(outputs, starts, strict=True), key=lambda one: one[0][0])
    for (run, output), start in ordered:
        info = output.object
        if info is None:
            continue
        first, end = (index, index + 1) if boundaries is None else _covering(output.blocks, keys)
        if start[end] > start[first]:
            length = start[end] - start[first]
            place = (info.uri, info.generation, start[first], length)
            slices.append(RunSlice(run.stage, run.index, *place))
    return RunInput(tuple(slices), keys)


def _covering(blocks: Sequence[BlockKey], keys: KeyRange) -> tuple[int, int]:
    """Return the first and the end of the blocks that may hold keys of the range."""
    if keys.low is not None and keys.low == keys.high:
        return 0, 0
    first, end = 0, len(blocks)
    if keys.low is not None:
        # First keys are cut, so a block may begin a little beyond what it says, never before: the
        # block before the first one at or beyond `low` may reach into the range.
        first = max(0, bisect_left(blocks, keys.low, key=_first_key) - 1)
    if keys.high is not None:
        end = bisect_left(blocks, keys.high, key=_first_key)
    return first, max(first, end)


def _first_key(block: BlockKey) -> bytes:
    return block.first_key


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
