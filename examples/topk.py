"""Top k: the most frequent words, from the output of word count.

    mrcore run examples/wordcount.py examples/data/books/*.txt -o out/counts
    mrcore run examples/topk.py out/counts -o out/top --param k=10

The output of one job is the input of the next; a folder as input leaves out names that begin with
`_` or `.`, such as the receipt `_SUCCESS`. The best come first:

    the   41873
    and   28760

All candidates share the key None, and so meet in one call of `reduce`. That is cheap, because the
combiner has let only the k best of each map task through.
"""

import heapq

k = 10


def setup(context):
    global k
    k = int(context.params.get("k", k))


def map(key, line):
    word, count = line.rsplit("\t", 1)
    # The word decides where counts are equal, the first of the alphabet before the others.
    yield None, (-int(count), word)


def combine(key, candidates):
    for candidate in heapq.nsmallest(k, candidates):
        yield key, candidate


def reduce(key, candidates):
    for negative, word in heapq.nsmallest(k, candidates):
        yield word, -negative
