"""Word count with a Counter: what a good programmer writes by hand with multiprocessing.

python bench/by_hand/wordcount_counter.py OUT FILE...
"""

from __future__ import annotations

import sys
from collections import Counter
from multiprocessing import Pool
from pathlib import Path

BLOCK_BYTES = 1 << 20


def count(path: str) -> Counter[str]:
    """Return the words of one file; blocks of whole lines keep the working set in the cache."""
    words: Counter[str] = Counter()
    with Path(path).open(encoding="utf-8") as file:
        while lines := file.readlines(BLOCK_BYTES):
            words.update("".join(lines).split())
    return words


def main() -> None:
    """Count with two processes and write the result in the order of the words."""
    out, *paths = sys.argv[1:]
    total: Counter[str] = Counter()
    with Pool(2) as pool:
        for words in pool.imap_unordered(count, paths):
            total.update(words)
    with Path(out).open("w", encoding="utf-8") as file:
        file.writelines(f"{word}\t{n}\n" for word, n in sorted(total.items()))


if __name__ == "__main__":
    main()
