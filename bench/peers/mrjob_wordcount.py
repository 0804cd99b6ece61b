"""Word count by mrjob's local runner with two processes.

python bench/peers/mrjob_wordcount.py OUT FILE...
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mrjob.job import MRJob


class WordCount(MRJob):
    """Count in memory, as mrjob's guide does in `mapper_final`."""

    def mapper_init(self) -> None:
        """Begin with nothing counted."""
        self.words: Counter[str] = Counter()

    def mapper(self, _: None, line: str) -> None:
        """Count the words of a line."""
        self.words.update(line.split())

    def mapper_final(self) -> Iterator[tuple[str, int]]:
        """Yield what was counted."""
        yield from self.words.items()

    def reducer(self, word: str, numbers: Iterator[int]) -> Iterator[tuple[str, int]]:
        """Yield the sum."""
        yield word, sum(numbers)


def main() -> None:
    """Run the job with two processes and write its pairs."""
    out, *files = sys.argv[1:]
    job = WordCount(args=["--runner=local", "--num-cores=2", "--quiet", *files])
    with job.make_runner() as runner, Path(out).open("w", encoding="utf-8") as file:
        runner.run()
        file.writelines(
            f"{word}\t{number}\n" for word, number in job.parse_output(runner.cat_output())
        )


if __name__ == "__main__":
    if len(sys.argv) > 2 and not sys.argv[1].startswith("-"):
        main()
    else:  # mrjob starts this file once more for each task
        with contextlib.suppress(BrokenPipeError):
            WordCount.run()
