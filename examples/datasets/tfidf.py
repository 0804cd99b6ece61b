"""Weights of words in documents: often here, and in few others."""

import math
import operator
import re
import sys

import mrcore


def tfidf(paths, **options):
    """Return a dataset of ((file, word), weight). The number of files is counted first."""
    files = mrcore.read_files(paths)
    total = files.count(**options)
    words = files.flat_map_values(lambda text: re.findall(r"\w+", text.lower()))
    frequencies = (
        words.map(lambda pair: (pair, 1))
        .reduce_by_key(operator.add)
        .map(lambda counted: (counted[0][1], (counted[0][0], counted[1])))
    )
    documents = words.distinct().map(lambda pair: (pair[1], 1)).count_by_key()
    return frequencies.join(documents).map(
        lambda found: (
            (found[1][0][0], found[0]),
            found[1][0][1] * math.log(total / found[1][1]),
        )
    )


if __name__ == "__main__":
    for (name, word), weight in tfidf(sys.argv[1:]).top(20, key=lambda pair: pair[1]).collect():
        print(f"{weight:8.3f} {word} in {name}")
