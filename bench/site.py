"""The site of the benchmarks: their folders and sizes, jobs, and runs in turn."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from bench import measure
from bench.rows import Row, Target, WrongOutputError

ROOT: Final = Path(__file__).resolve().parents[1]
MIB: Final = 1 << 20
WORKERS: Final = 2


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of the benchmarks."""

    text_mib: int
    index_mib: int
    records: int
    tasks: int
    rounds: int
    skewed_lines: int
    keys: int
    many_words: int
    fleet_workers: int
    fleet_tasks: int
    growth_mib: int
    """Data of the jobs that grow, before it is multiplied."""
    fleets: tuple[int, ...]
    """Numbers of workers of the fleets that grow."""


FULL: Final = Sizes(
    text_mib=256,
    index_mib=128,
    records=10_000_000,
    tasks=10_000,
    rounds=3,
    skewed_lines=125,
    keys=10_000_000,
    many_words=5_000_000,
    fleet_workers=1_000,
    fleet_tasks=20_000,
    growth_mib=128,
    fleets=(100, 1_000, 10_000),
)
QUICK: Final = Sizes(
    text_mib=16,
    index_mib=8,
    records=200_000,
    tasks=500,
    rounds=1,
    skewed_lines=5,
    keys=200_000,
    many_words=100_000,
    fleet_workers=40,
    fleet_tasks=1_000,
    growth_mib=4,
    fleets=(10, 40),
)

Run: TypeAlias = Callable[[], tuple[measure.Measured, Path]]
"""One run of a program: its cost, and where its output is."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Folders and sizes of a run of benchmarks."""

    home: Path
    sizes: Sizes

    @property
    def other_output(self) -> Path:
        """The file that programs other than mrcore write."""
        return self.home / "out" / "other.txt"

    def job(
        self, name: str, plugin: str, inputs: Path, *options: str, sample_memory: bool = False
    ) -> tuple[measure.Measured, Path]:
        """Run one job with two workers on an embedded cluster; return its cost and its output."""
        out = self.home / "out" / name
        shutil.rmtree(out, ignore_errors=True)
        run = self.command(plugin, inputs, out, *options, sample_memory=sample_memory)
        return run, out

    def command(
        self,
        plugin: str,
        source: str | Path,
        target: str | Path,
        *options: str,
        workers: int = WORKERS,
        environment: Mapping[str, str] | None = None,
        sample_memory: bool = False,
    ) -> measure.Measured:
        """Run one job on an embedded cluster; return its cost."""
        command: list[str | Path] = [
            Path(sys.executable).with_name("mrcore"),
            "run",
            *(ROOT / plugin, source, "-o", target),
            *("-w", str(workers), "--json", *options),
        ]
        home = {"XDG_STATE_HOME": str(self.home / "state")}
        variables = {**home, **(environment or {})}
        return measure.run(command, environment=variables, sample_memory=sample_memory)

    def by_hand(self, script: str, folder: Path) -> Run:
        """Return a run of one of the hand-written scripts over the files of a folder."""

        def run() -> tuple[measure.Measured, Path]:
            files = sorted(folder.iterdir())
            program: list[str | Path] = [sys.executable, ROOT / "bench/by_hand" / script]
            command = [*program, self.other_output, *files]
            return measure.run(command), self.other_output

        return run

    def gnu_sort(self, folder: Path) -> Run:
        """Return a run of GNU sort over the files of a folder."""

        def run() -> tuple[measure.Measured, Path]:
            command: list[str | Path] = [
                *("sort", "--parallel=2", "-T", self.home, "-o", self.other_output),
                *sorted(folder.iterdir()),
            ]
            return measure.run(command, environment={"LC_ALL": "C"}), self.other_output

        return run

    def in_turn(
        self,
        ours: Run,
        others: Sequence[Run],
        same: Callable[[Path, Path], bool],
    ) -> list[measure.Measured]:
        """Run all in turn, as often as the sizes say, and compare each output with ours.

        Returns the quickest run of each, ours first.
        """
        best: list[measure.Measured | None] = [None] * (1 + len(others))
        for _ in range(self.sizes.rounds):
            our_run, our_output = ours()
            best[0] = _quicker(best[0], our_run)
            for place, other in enumerate(others, 1):
                run, output = other()
                if not same(our_output, output):
                    raise WrongOutputError(f"{our_output} is not what {output} holds.")
                best[place] = _quicker(best[place], run)
        shutil.rmtree(self.home / "out", ignore_errors=True)
        (self.home / "out").mkdir()
        return [run for run in best if run is not None]


def _quicker(a: measure.Measured | None, b: measure.Measured) -> measure.Measured:
    return b if a is None or b.seconds < a.seconds else a


def ratio(
    name: str, ours: measure.Measured, other: measure.Measured, label: str, target: Target
) -> Row:
    """Return a row with how many times as fast we are as the other."""
    detail = f"{times(ours)}, {label} {times(other)}"
    return Row(name, other.seconds / ours.seconds, "x", target, detail, {"peer": label})


def times(run: measure.Measured) -> str:
    """Return the times of a run, for a person."""
    return f"{run.seconds:.2f} s ({run.cpu_seconds:.2f} CPU s)"


def parts(output: Path) -> list[Path]:
    """Return the parts of an output, in order."""
    return sorted(output.glob("part-*"))


def same_lines(output: Path, other: Path) -> bool:
    """Return whether the parts have the lines of the other file, in any order."""
    lines = [line for part in parts(output) for line in part.read_bytes().splitlines()]
    return sorted(lines) == sorted(other.read_bytes().splitlines())


def same_bytes(output: Path, other: Path) -> bool:
    """Return whether the parts, concatenated, equal the other file."""
    return _digest(parts(output)) == _digest([other])


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.blake2b()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(MIB):
                digest.update(block)
    return digest.hexdigest()


def machine() -> str:
    """Return what the figures were measured on."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    return f"{len(os.sched_getaffinity(0))} cores, Python {version}"
