"""Inverted index: in which files does each word occur?

    mrcore run examples/inverted_index.py examples/data/books/*.txt -o out/inverted_index

In a text input a key is the pair (file, byte offset of the line), with the file as it was given on
the command line. The output has a word, then its files:

    whale   books/moby.txt books/nature.txt

The combiner passes each file on once, however often the word occurs in it. It keeps the order in
which the files came: a set would give another order, and other bytes, in every run.
"""

import re

WORD = re.compile(r"\w+")


def map(key, line):
    file, _offset = key
    for word in WORD.findall(line):
        yield word.lower(), file


def combine(word, files):
    for file in dict.fromkeys(files):
        yield word, file


def reduce(word, files):
    return " ".join(sorted(set(files)))
