"""K-means over lines of numbers: a job for each round, on one cluster."""

import math
import sys

import mrcore


def nearest(point, centers):
    return min(range(len(centers)), key=lambda n: math.dist(point, centers[n]))


def add(one, other):
    return tuple(map(sum, zip(one[0], other[0], strict=True))), one[1] + other[1]


def kmeans(paths, count, rounds=20, **options):
    """Return `count` centers. The first ones are the first distinct points."""
    points = mrcore.read_text(paths).map(lambda line: tuple(map(float, line.split())))
    centers = sorted(points.distinct().take(count, **options))
    for _ in range(rounds):
        sums = (
            points.map(lambda point, centers=centers: (nearest(point, centers), (point, 1)))
            .reduce_by_key(add)
            .collect(**options)
        )
        moved = list(centers)
        for number, (total, size) in sums:
            moved[number] = tuple(value / size for value in total)
        if moved == centers:
            break
        centers = moved
    return centers


if __name__ == "__main__":
    with mrcore.LocalCluster() as cluster:
        for center in kmeans(sys.argv[2:], int(sys.argv[1]), on=cluster):
            print(*center)
