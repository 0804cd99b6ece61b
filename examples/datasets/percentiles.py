"""Mean and percentiles of a number by key, from lines `KEY NUMBER`."""

import math
import sys

import mrcore


def percentile(ordered, percent):
    """Return the nearest-rank percentile of a sorted list."""
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def described(pair):
    key, numbers = pair
    return {
        "key": key,
        "mean": math.fsum(numbers) / len(numbers),
        "p50": percentile(numbers, 50),
        "p95": percentile(numbers, 95),
    }


def percentiles(paths):
    return (
        mrcore.read_text(paths)
        .map(str.split)
        .map(lambda fields: (fields[0], float(fields[1])))
        .group_by_key(sort_key=lambda number: number)
        .map(described)
    )


if __name__ == "__main__":
    for row in percentiles(sys.argv[1:]).collect():
        print(row)
