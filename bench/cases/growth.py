"""Growth of costs: the same jobs with more data and more workers, and masters with more workers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench import data, measure
from bench.cases import masters
from bench.rows import NO_TARGET, Point, Row, WrongOutputError
from bench.site import MIB, Bench, same_bytes, same_lines, times

FACTORS: Final = (0.25, 1.0, 4.0)
WORKERS: Final = (1, 2, 4)
TASKS_A_WORKER: Final = 4
REDUCES: Final = ("-r", "4")
"""The same for all: outputs are compared byte by byte."""


@dataclass(frozen=True, slots=True)
class _Work:
    """A job that grows."""

    name: str
    plugin: str
    options: tuple[str, ...]
    folder: Callable[[Bench, float], Path]
    other: Callable[[Bench, Path], tuple[measure.Measured, Path]]
    """Program that makes the same output."""
    same: Callable[[Path, Path], bool]


def growth(bench: Bench) -> list[Row]:
    """Count words and sort records, by size and number of workers, and then grow the fleet."""
    rows = [row for work in _WORKS for row in _grown(bench, work)]
    return rows + [_fleet(bench, workers) for workers in bench.sizes.fleets]


def _fleet(bench: Bench, workers: int) -> Row:
    """Measure a master whose workers, this many, pretend to work."""
    tasks = max(bench.sizes.fleet_tasks, TASKS_A_WORKER * workers)
    sizes = replace(bench.sizes, fleet_workers=workers, fleet_tasks=tasks)
    seen = masters.measured(replace(bench, sizes=sizes))
    value = 1_000 * seen.cpu_seconds / seen.tasks
    rate, memory = seen.tasks / seen.seconds, seen.peak_bytes / MIB
    detail = f"{seen.tasks:,} tasks, {rate:,.0f} a second, {memory:,.0f} MiB"
    point: Point = {
        "work": "master",
        "workers": workers,
        "tasks_a_second": rate,
        "mebibytes": memory,
    }
    name = f"master CPU a task, {workers:,} workers"
    return Row(name, value, "ms", NO_TARGET, detail, point)


def _grown(bench: Bench, work: _Work) -> list[Row]:
    rows = []
    for factor in FACTORS:
        folder = work.folder(bench, factor)
        megabytes = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        _, expected = work.other(bench, folder)
        for workers in WORKERS:
            out = bench.home / "out" / "growth"
            run = bench.command(work.plugin, folder, out, *work.options, *REDUCES, workers=workers)
            if not work.same(out, expected):
                raise WrongOutputError(f"{out} is not what {expected} holds.")
            shutil.rmtree(out)
            name = f"{work.name}, {megabytes:,.0f} MB, {workers} worker{'s' * (workers > 1)}"
            detail = f"{megabytes / run.seconds:.0f} MB/s, {times(run)}"
            point: Point = {"work": work.name, "megabytes": megabytes, "workers": workers}
            rows.append(Row(name, run.seconds, "s", NO_TARGET, detail, point))
        expected.unlink()
    return rows


def _words(bench: Bench, factor: float) -> Path:
    return data.words(bench.home, max(1, int(factor * bench.sizes.growth_mib)))


def _count(bench: Bench, folder: Path) -> tuple[measure.Measured, Path]:
    return bench.by_hand("wordcount_counter.py", folder)()


def _records(bench: Bench, factor: float) -> Path:
    return data.records(bench.home, int(factor * bench.sizes.growth_mib * MIB / 100))


def _sort(bench: Bench, folder: Path) -> tuple[measure.Measured, Path]:
    return bench.gnu_sort(folder)()


_WORKS: Final = (
    _Work("word count, generator", "bench/plugins/wordcount.py", (), _words, _count, same_lines),
    _Work(
        "sort, arrow",
        "examples/sort_arrow.py",
        ("--total-order", "--input-format", "arrow"),
        _records,
        _sort,
        same_bytes,
    ),
)
