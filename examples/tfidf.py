"""Words that are typical of a file: often in it, and in few others.

    mrcore run examples/tfidf.py examples/data/books/*.txt -o out/tfidf --param files=3

Three steps are one job: what one step emits is the input of the next, and keys and values keep
their types. `files` is the number of files. The output has a file, then its most typical words,
the best first:

    examples/data/books/moby.txt   whale ahab ship

The weight is the usual one (tf-idf): how often the word occurs in the file, times the logarithm of
the number of files over the number of those that have the word.
"""

import heapq
import math
import re

from mrcore import Step
from mrcore import sum as total

WORD = re.compile(r"[a-z]+")

files = 1
best = 3


def setup(context):
    global files, best
    files = int(context.params["files"])
    best = int(context.params.get("best", best))


def occurrences(key, line):
    file, _offset = key
    for word in WORD.findall(line.lower()):
        yield (word, file), 1


def by_word(key, count):
    word, file = key
    yield word, (file, count)


def weighed(word, found):
    found = list(found)  # a file at most once
    weight = math.log(files / len(found))
    for file, count in found:
        yield file, (count * weight, word)


def typical(file, words):
    words = heapq.nsmallest(best, words, key=lambda found: (-found[0], found[1]))
    return " ".join(word for _weight, word in words)


steps = [
    Step(map=occurrences, combine=total, reduce=total),
    Step(map=by_word, reduce=weighed),
    Step(reduce=typical),
]
