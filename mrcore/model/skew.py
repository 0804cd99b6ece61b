"""Skew of partitions: which task reads far more than the others, and under which key. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from mrcore.util.units import show_size

HEAVY_RUN_ROWS: Final = 10_000
"""Pairs of one key from which a run reports it."""
HEAVY_ROWS: Final = 1_000_000
"""Pairs of one key from which it is worth a sentence: seconds of a reduce task."""
LARGE_BYTES: Final = 16 << 20
"""Bytes of one partition, as its runs have them, from which it is worth a sentence."""
FACTOR: Final = 4
"""Times that a task has as much as the others from which it is far above them."""
SECTIONS_MAX: Final = 250_000
"""Sections that are added up; of more every n-th run stands for the others."""


class HeavyKey(msgspec.Struct, frozen=True, array_like=True):
    """The key that fills the most blocks of a run, without others between."""

    partition: int
    shown: str
    rows: int
    """Pairs in these blocks. The key may have a few more, in blocks with other keys."""


def sizes_of(runs: Sequence[Sequence[int]]) -> list[int]:
    """Return the bytes of each partition; `runs` has the bytes of each section of each run.

    They are estimates where there are very many.
    """
    if not runs:
        return []
    stride = -(-len(runs) * len(runs[0]) // SECTIONS_MAX)
    some = runs[:: max(1, stride)]
    return [sum(sizes) * len(runs) // len(some) for sizes in zip(*some, strict=False)]


def heaviest(keys: Sequence[HeavyKey]) -> HeavyKey | None:
    """Return the key with the most pairs over all runs."""
    rows: Counter[tuple[int, str]] = Counter()
    for key in keys:
        rows[key.partition, key.shown] += key.rows
    if not rows:
        return None
    ((partition, shown), count) = max(rows.items(), key=lambda item: (item[1], item[0]))
    return HeavyKey(partition, shown, count)


def sentence(task: str, runs: Sequence[Sequence[int]], keys: Sequence[HeavyKey], pairs: int) -> str:
    """Return what people should know before the tasks begin; empty where no task is far above.

    `task` is the name of one without its number, and `pairs` the number of pairs of all runs.
    """
    sizes = sizes_of(runs)
    if len(sizes) < 2:
        return ""
    key = heaviest(keys)
    if key is not None and key.rows >= max(HEAVY_ROWS, FACTOR * (pairs - key.rows) / len(sizes)):
        return (
            f"{task}-{key.partition:05d} gets at least {key.rows:,} of {pairs:,} pairs under one "
            f"key, {key.shown}. Where the values can be put together early, write `combine`. "
            "Otherwise add a number to the key, and join the results in a second step."
        )
    hot = max(range(len(sizes)), key=sizes.__getitem__)
    others = (sum(sizes) - sizes[hot]) / (len(sizes) - 1)
    if sizes[hot] < max(LARGE_BYTES, FACTOR * others):
        return ""
    return (
        f"{task}-{hot:05d} has {show_size(sizes[hot])} to read, and the other tasks "
        f"{show_size(int(others))} on average. More reduce tasks (`-r`) or another `partition` "
        "spread the keys."
    )
