"""Word count by Polars with two threads, streaming.

python bench/peers/polars_wordcount.py OUT FILE...
"""

from __future__ import annotations

import os
import sys

os.environ["POLARS_MAX_THREADS"] = "2"  # before the import reads it

import polars as pl


def main() -> None:
    """Read, count and write by one lazy query."""
    out, *files = sys.argv[1:]
    lines = pl.scan_csv(
        files, has_header=False, separator="\x01", quote_char=None, new_columns=["line"]
    )
    words = lines.select(pl.col("line").str.split(" ").alias("word")).explode("word")
    counts = words.filter(pl.col("word") != "").group_by("word").len().sort("word")
    counts.sink_csv(out, include_header=False, separator="\t", quote_style="never")


if __name__ == "__main__":
    main()
