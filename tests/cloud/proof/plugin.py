"""Word count that takes its time, where `--param pause=SECONDS` says how long at every line.

So a small input is enough for a job that VMs can be lost in, and no cores are needed for it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator

from mrcore.plugin.context import Context

WORD = re.compile(r"\w+")
pause_seconds = 0.0


def setup(context: Context) -> None:
    global pause_seconds  # noqa: PLW0603 - a plugin's state is its module's
    pause_seconds = float(context.params.get("pause", pause_seconds))


def map(key: object, line: str) -> Iterator[tuple[str, int]]:  # noqa: A001 - the name is given
    time.sleep(pause_seconds)
    for word in WORD.findall(line):
        yield word.lower(), 1


def reduce(word: str, counts: Iterable[int]) -> int:
    return sum(counts)


combine = reduce
