"""The files of each word with multiprocessing: a set of words a file, merged in the order of files.

python bench/by_hand/inverted_index.py OUT FILE...
"""

from __future__ import annotations

import sys
from multiprocessing import Pool
from pathlib import Path

BLOCK_BYTES = 1 << 20


def words_of(path: str) -> tuple[str, set[str]]:
    """Return the name of a file and its words."""
    words: set[str] = set()
    with Path(path).open(encoding="utf-8") as file:
        while lines := file.readlines(BLOCK_BYTES):
            words.update("".join(lines).split())
    return Path(path).name, words


def main() -> None:
    """Read with two processes, merge, and write a line for each word, in order."""
    out, *paths = sys.argv[1:]
    index: dict[str, list[str]] = {}
    with Pool(2) as pool:
        for name, words in pool.imap(words_of, sorted(paths)):
            for word in words:
                index.setdefault(word, []).append(name)
    with Path(out).open("w", encoding="utf-8") as file:
        file.writelines(f"{word}\t{' '.join(index[word])}\n" for word in sorted(index))


if __name__ == "__main__":
    main()
