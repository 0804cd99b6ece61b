"""Word count by a plain generator, as most people write it."""


def map(key, line):
    for word in line.split():
        yield word, 1


def reduce(word, counts):
    return sum(counts)


combine = reduce
