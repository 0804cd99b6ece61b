"""Word count by a generator with multiprocessing: the work of mrcore's plugin, without mrcore.

python bench/by_hand/wordcount_generator.py OUT FILE...
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from multiprocessing import Pool
from pathlib import Path


def pairs(line: str) -> Iterator[tuple[str, int]]:
    """Yield each word of a line with a one."""
    for word in line.split():
        yield word, 1


def count(path: str) -> dict[str, int]:
    """Return the words of one file."""
    totals: dict[str, int] = {}
    get = totals.get
    with Path(path).open(encoding="utf-8") as file:
        for line in file:
            for word, number in pairs(line):
                totals[word] = get(word, 0) + number
    return totals


def main() -> None:
    """Count with two processes, merge, and write the result in the order of the words."""
    out, *paths = sys.argv[1:]
    total: dict[str, int] = {}
    with Pool(2) as pool:
        for totals in pool.imap_unordered(count, paths):
            for word, number in totals.items():
                total[word] = total.get(word, 0) + number
    with Path(out).open("w", encoding="utf-8") as file:
        file.writelines(f"{word}\t{n}\n" for word, n in sorted(total.items()))


if __name__ == "__main__":
    main()
