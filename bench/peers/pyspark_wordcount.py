"""Word count by PySpark with two cores: a plain Python function over the lines of an RDD.

python bench/peers/pyspark_wordcount.py OUT FILE...
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from operator import add
from pathlib import Path

from pyspark.sql import SparkSession


def count(lines: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield the words of a partition and how often each occurs in it."""
    words: Counter[str] = Counter()
    for line in lines:
        words.update(line.split())
    yield from words.items()


def main() -> None:
    """Count with two cores and write the result in the order of the words."""
    out, *files = sys.argv[1:]
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "2g")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    lines = session.sparkContext.textFile(",".join(files))
    total = lines.mapPartitions(count).reduceByKey(add, numPartitions=4).collect()
    session.stop()
    with Path(out).open("w", encoding="utf-8") as file:
        file.writelines(f"{word}\t{number}\n" for word, number in sorted(total))


if __name__ == "__main__":
    main()
