"""Word count with a Counter: how often does each word occur?

    mrcore run examples/wordcount_counter.py examples/data/books/*.txt -o out/wordcount_counter

Each map task counts in a variable of this module, and emits every word once, at its end. That is
faster than a pair for each word and a combiner. The output has a word, a tab and its count on each
line, as that of `examples/wordcount.py`.

One process runs many tasks, so the Counter is emptied as soon as it was emitted.
"""

import re
from collections import Counter

WORD = re.compile(r"\w+")

counts = Counter()


def map(key, line):
    counts.update(WORD.findall(line.lower()))


def map_finish(context):
    yield from counts.items()
    counts.clear()


def reduce(word, numbers):
    return sum(numbers)
