"""Word count by Ray with two processes: a Counter for each file, merged as they come.

python bench/peers/ray_wordcount.py OUT FILE...
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import ray

BLOCK_BYTES = 1 << 20


@ray.remote
def count(path: str) -> dict[str, int]:
    """Return the words of one file."""
    words: Counter[str] = Counter()
    with Path(path).open(encoding="utf-8") as file:
        while lines := file.readlines(BLOCK_BYTES):
            words.update("".join(lines).split())
    return dict(words)


def main() -> None:
    """Count with two processes and write the result in the order of the words."""
    out, *files = sys.argv[1:]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    total: Counter[str] = Counter()
    waiting = [count.remote(path) for path in files]
    while waiting:
        ready, waiting = ray.wait(waiting)
        total.update(ray.get(ready[0]))
    with Path(out).open("w", encoding="utf-8") as file:
        file.writelines(f"{word}\t{number}\n" for word, number in sorted(total.items()))


if __name__ == "__main__":
    main()
