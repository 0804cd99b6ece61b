"""Input of the proof's jobs, and their expected output."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Books:
    """Number and length of the books; each is read by one map task."""

    files: int = 24
    lines: int = 900


def write_books(folder: Path, size: Books) -> None:
    """Write text of a few thousand words that come back, the same in every run."""
    rng = random.Random(7)
    words = [f"{rng.choice('abcdefgh')}{rng.randrange(2000)}" for _ in range(4000)]
    folder.mkdir()
    for number in range(size.files):
        lines = (" ".join(rng.choices(words, k=12)) for _ in range(size.lines))
        (folder / f"book-{number:03}.txt").write_text("\n".join(lines) + "\n")


def count_words(folder: Path) -> dict[str, str]:
    """Count them in another way than the jobs do."""
    counts = Counter[str]()
    for path in folder.iterdir():
        counts.update(path.read_text().split())
    return {word: str(count) for word, count in counts.items()}
