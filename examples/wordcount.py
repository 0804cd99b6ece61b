"""Word count: how often does each word occur?

    mrcore run examples/wordcount.py examples/data/books/*.txt -o out/wordcount

Every line of the input is given to `map`, which emits a pair for each word. All pairs with the same
word meet in one call of `reduce`. The output has a line a word, in the order of the words within
each part:

    about   130
    above   12

`combine` does on the way what `reduce` does at the end: pairs of one map task are added up before
they travel. It may run any number of times or never, so it must not change what comes out.
"""

import re

WORD = re.compile(r"\w+")


def map(key, line):
    for word in WORD.findall(line):
        yield word.lower(), 1


def reduce(word, counts):
    return sum(counts)


combine = reduce
