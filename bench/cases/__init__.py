"""The benchmarks by name; each returns rows of the table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from bench.cases import buckets, frameworks, growth, masters, memory, overhead, sorts, starts, words
from bench.rows import Row
from bench.site import Bench

GROWTH: Final = "growth"
CASES: Final[dict[str, Callable[[Bench], list[Row]]]] = {
    "wordcount": words.generator,
    "wordcount-finish": words.finish,
    "wordcount-blocks": words.blocks,
    "wordcount-arrow": words.arrow,
    "wordcount-gs": buckets.gs,
    "many-words": words.many_words,
    "index": words.index,
    "sort-arrow": sorts.sort_arrow,
    "sort-text": sorts.sort_text,
    "tasks": overhead.tasks,
    "calls": overhead.calls,
    "small": overhead.small,
    "start": starts.start_after_crash,
    "start-entries": starts.start_on_journal,
    "master-cpu": masters.cost,
    "answers": masters.answers,
    "memory": memory.memory,
    "skew": memory.skew,
    "distinct": memory.distinct,
    **{name: partial(frameworks.against, name) for name in frameworks.SYSTEMS},
    GROWTH: growth.growth,
}
