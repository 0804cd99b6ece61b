"""PageRank over lines `FROM TO`: some jobs in a row on one cluster."""

import sys

import mrcore

DAMPING = 0.85


def shares(found):
    targets, rank = found
    return [(target, rank / len(targets)) for target in targets]


def pagerank(paths, rounds=10, **options):
    """Return a dict with the rank of each page; the ranks add up to 1."""
    edges = mrcore.read_text(paths).map(lambda line: tuple(line.split())).distinct()
    pages = edges.flat_map(lambda edge: edge).distinct().collect(**options)
    targets = edges.group_by_key()
    ranks = dict.fromkeys(pages, 1 / len(pages))
    for _ in range(rounds):
        given = mrcore.from_items(sorted(ranks.items()))
        sent = targets.join(given).values().flat_map(shares).sum_by_key()
        received = dict(sent.collect(**options))
        # Pages without links give their rank to all.
        lost = 1 - sum(received.values())
        ranks = {
            page: (1 - DAMPING) / len(pages)
            + DAMPING * (received.get(page, 0.0) + lost / len(pages))
            for page in pages
        }
    return ranks


if __name__ == "__main__":
    with mrcore.LocalCluster() as cluster:
        found = pagerank(sys.argv[1:], on=cluster)
    for page, rank in sorted(found.items(), key=lambda pair: -pair[1])[:20]:
        print(f"{rank:.5f} {page}")
