"""Near-duplicates in jsonl with the fields `id` and `text`: of each group the smallest id stays.

Exact duplicates have the same text, but for case and spaces. Near ones share most of their runs of
three words: MinHash signatures in bands find candidates, which are compared. What is like something
that is like a third one belongs together, too: connected components, by label propagation.
"""

import hashlib
import re
import sys

import mrcore

HASHES, BAND = 64, 4
LIKE = 0.7
"""Share of common word runs from which on two texts are near-duplicates."""


def words_of(text):
    return re.findall(r"\w+", text.lower())


def shingles(text):
    words = words_of(text)
    return {" ".join(words[n : n + 3]) for n in range(max(1, len(words) - 2))}


def bands(document):
    """Yield the bands of a signature as keys, with the document."""
    runs = [run.encode() for run in shingles(document["text"])]
    signature = [
        min(hashlib.blake2b(run, digest_size=8, salt=n.to_bytes(8, "big")).digest() for run in runs)
        for n in range(HASHES)
    ]
    for start in range(0, HASHES, BAND):
        yield (start, b"".join(signature[start : start + BAND])), document


def pairs_alike(documents):
    """Yield the ids of documents of one band that are alike, the smaller id first."""
    ordered = sorted(documents, key=lambda document: document["id"])
    sets = [shingles(document["text"]) for document in ordered]
    for n, document in enumerate(ordered):
        for m in range(n):
            if len(sets[n] & sets[m]) >= LIKE * len(sets[n] | sets[m]):
                yield ordered[m]["id"], document["id"]


def components(edges, **options):
    """Return the smallest id that is connected with each id, as a dict."""
    both = edges.flat_map(lambda edge: [edge, (edge[1], edge[0])]).distinct()
    labels = {page: page for page in both.keys().distinct().collect(**options)}
    while True:
        given = mrcore.from_items(sorted(labels.items()))
        heard = dict(both.join(given).values().min_by_key().collect(**options))
        moved = {page: min(label, heard[page]) for page, label in labels.items()}
        if moved == labels:
            return labels
        labels = moved


def exact_unique(paths):
    """Return a document of each text."""
    return (
        mrcore.read_jsonl(paths)
        .key_by(lambda document: " ".join(words_of(document["text"])))
        .reduce_by_key(lambda one, other: min(one, other, key=lambda document: document["id"]))
        .values()
    )


def near_unique(paths, **options):
    """Return the documents that are not near-duplicates of one with a smaller id."""
    unique = exact_unique(paths)
    edges = unique.flat_map(bands).group_by_key().values().flat_map(pairs_alike).distinct()
    labels = components(edges, **options)
    return unique.filter(
        lambda document: labels.get(document["id"], document["id"]) == document["id"]
    )


if __name__ == "__main__":
    with mrcore.LocalCluster() as cluster:
        near_unique(sys.argv[1:-1], on=cluster).write_jsonl(sys.argv[-1], on=cluster)
