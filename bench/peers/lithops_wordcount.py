"""Word count by Lithops on this machine with two processes: `map_reduce` over the files.

python bench/peers/lithops_wordcount.py OUT FILE...
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

import lithops

BLOCK_BYTES = 1 << 20


def count(path: str) -> dict[str, int]:
    """Return the words of one file."""
    words: Counter[str] = Counter()
    with Path(path).open(encoding="utf-8") as file:
        while lines := file.readlines(BLOCK_BYTES):
            words.update("".join(lines).split())
    return dict(words)


def merge(results: list[dict[str, int]]) -> dict[str, int]:
    """Return the sums."""
    total: Counter[str] = Counter()
    for words in results:
        total.update(words)
    return dict(total)


def main() -> None:
    """Count with two processes and write the result in the order of the words."""
    out, *files = sys.argv[1:]
    with tempfile.TemporaryDirectory() as storage:
        config = {
            "lithops": {"backend": "localhost", "storage": "localhost", "telemetry": False},
            "localhost": {"runtime": sys.executable, "worker_processes": 2},
            "localhost_storage": {"storage_root": storage},
        }
        with lithops.FunctionExecutor(config=config, log_level="ERROR") as executor:
            executor.map_reduce(count, files, merge)
            total = executor.get_result()
    with Path(out).open("w", encoding="utf-8") as file:
        file.writelines(f"{word}\t{number}\n" for word, number in sorted(total.items()))


if __name__ == "__main__":
    main()
