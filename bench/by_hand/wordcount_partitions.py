"""Word count of many different words: two rounds of processes with files between them.

python bench/by_hand/wordcount_partitions.py OUT FILE...

One process that merged everything would do most of the work alone.
"""

from __future__ import annotations

import marshal
import sys
import tempfile
from collections import Counter
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from zlib import crc32

PARTITIONS = 4
BLOCK_BYTES = 1 << 20


def scatter(folder: Path, path: str) -> None:
    """Count the words of one file, and write a file for each partition."""
    words: Counter[str] = Counter()
    with Path(path).open(encoding="utf-8") as file:
        while lines := file.readlines(BLOCK_BYTES):
            words.update("".join(lines).split())
    partitions: list[dict[str, int]] = [{} for _ in range(PARTITIONS)]
    for word, number in words.items():
        partitions[crc32(word.encode()) % PARTITIONS][word] = number
    for place, partition in enumerate(partitions):
        (folder / f"{Path(path).name}.{place}").write_bytes(marshal.dumps(partition))


def gather(folder: Path, place: int) -> Path:
    """Merge one partition of all files, and write its lines in order."""
    total: dict[str, int] = {}
    get = total.get
    for path in sorted(folder.glob(f"*.{place}")):
        for word, number in marshal.loads(path.read_bytes()).items():
            total[word] = get(word, 0) + number
    out = folder / f"part-{place}"
    with out.open("w", encoding="utf-8") as file:
        file.writelines(f"{word}\t{total[word]}\n" for word in sorted(total))
    return out


def main() -> None:
    """Scatter and gather with two processes each, and join the parts."""
    out, *paths = sys.argv[1:]
    with tempfile.TemporaryDirectory(dir=Path(out).parent) as name:
        folder = Path(name)
        with Pool(2) as pool:
            pool.map(partial(scatter, folder), paths, chunksize=1)
            parts = pool.map(partial(gather, folder), range(PARTITIONS), chunksize=1)
        with Path(out).open("wb") as file:
            file.writelines(part.read_bytes() for part in parts)


if __name__ == "__main__":
    main()
