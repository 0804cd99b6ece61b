"""Indexer: for each word the number of files that have it, and their names.

mrcore run examples/classic/indexer.py books/*.txt -o out --input-format whole

whale   2 books/moby.txt,books/nature.txt
"""

import re

LETTERS = re.compile(r"[^\W\d_]+")


def map(file, text):
    return [(word, file) for word in sorted(set(LETTERS.findall(text)))]


def reduce(word, files):
    names = sorted(files)
    return f"{len(names)} {','.join(names)}"
