"""The words that occur most often in text files.

python examples/datasets/top_words.py examples/data/*.txt
"""

import operator
import re
import sys

import mrcore


def top_words(paths, count=100):
    return (
        mrcore.read_text(paths)
        .flat_map(lambda line: re.findall(r"\w+", line.lower()))
        .map(lambda word: (word, 1))
        .reduce_by_key(operator.add)
        .top(count, key=lambda pair: (pair[1], pair[0]))
    )


if __name__ == "__main__":
    for word, number in top_words(sys.argv[1:]).collect():
        print(f"{number:8,} {word}")
