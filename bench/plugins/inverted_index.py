"""The files of each word, by their names."""

from pathlib import Path


def map(key, line):
    name = Path(key[0]).name
    for word in line.split():
        yield word, name


def combine(word, files):
    for file in dict.fromkeys(files):
        yield word, file


def reduce(word, files):
    return " ".join(sorted(set(files)))
