"""The files of each word, by their names: a set of words a file, which a task emits at its end."""

from pathlib import Path

words = {}


def map(key, block):
    words.setdefault(Path(key[0]).name, set()).update(block.split())


def map_finish(context):
    for name, some in words.items():
        for word in some:
            yield word, name
    words.clear()


def reduce(word, files):
    return " ".join(sorted(set(files)))
