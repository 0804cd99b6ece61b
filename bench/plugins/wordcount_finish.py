"""Word count with a Counter of the module, which a map task emits at its end."""

from collections import Counter

counts = Counter()


def map(key, block):
    counts.update(block.split())


def map_finish(context):
    found = dict(counts)
    counts.clear()
    return found


def reduce(word, numbers):
    return sum(numbers)
