"""Word count by a Dask bag with two processes.

python bench/peers/dask_wordcount.py OUT FILE...
"""

from __future__ import annotations

import sys
from pathlib import Path

import dask
import dask.bag as db


def main() -> None:
    """Read, count and write."""
    out, *files = sys.argv[1:]
    with dask.config.set(scheduler="processes", num_workers=2):
        counts = db.read_text(files).str.split().flatten().frequencies().compute()
    with Path(out).open("w", encoding="utf-8") as file:
        file.writelines(f"{word}\t{number}\n" for word, number in sorted(counts))


if __name__ == "__main__":
    main()
