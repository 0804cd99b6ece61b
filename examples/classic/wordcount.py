"""Word count as it is taught: `map` is given a whole file, `reduce` all counts of a word.

    mrcore run examples/classic/wordcount.py books/*.txt -o out --input-format whole

With --input-format whole a record is a file: the key is its name as given, the value its text.
"""

import re

LETTERS = re.compile(r"[^\W\d_]+")


def map(file, text):
    return [(word, "1") for word in LETTERS.findall(text)]


def reduce(word, ones):
    return str(sum(1 for _ in ones))
