"""Seeds that are kept: those that failed once, and those that show a mutant."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent
_SEEDS: Final = _HERE / "seeds.txt"
_SHOWN: Final = _HERE / "mutants" / "shown.txt"


def _lines(path: Path) -> list[list[str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def kept_seeds() -> list[int]:
    """Return the seeds that failed once."""
    return [int(line[0]) for line in _lines(_SEEDS)]


def add_seed(seed: int, problem: str) -> None:
    """Keep a seed that has failed, unless it is kept."""
    if seed not in kept_seeds():
        with _SEEDS.open("a", encoding="utf-8") as file:
            file.write(f"{seed:<7} {problem.splitlines()[0][:100]}\n")


def shown_by() -> dict[str, int]:
    """Return a seed that shows each mutant."""
    return {line[0]: int(line[1]) for line in _lines(_SHOWN)}
