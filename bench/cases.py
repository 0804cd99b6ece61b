"""The benchmarks: each runs mrcore and its peer in turn, and compares what they have written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import data, measure

ROOT: Final = Path(__file__).resolve().parents[1]
MIB: Final = 1 << 20


class WrongOutputError(Exception):
    """Output of mrcore that differs from that of its peer."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of the benchmarks."""

    text_mib: int
    records: int
    tasks: int
    rounds: int
    skewed_lines: int
    keys: int


FULL: Final = Sizes(
    text_mib=256, records=10_000_000, tasks=10_000, rounds=3, skewed_lines=125, keys=10_000_000
)
QUICK: Final = Sizes(
    text_mib=16, records=200_000, tasks=500, rounds=1, skewed_lines=5, keys=200_000
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    value: float
    unit: str
    target: float
    higher_is_better: bool
    detail: str

    @property
    def reached(self) -> bool:
        """Return whether the target is reached."""
        if self.higher_is_better:
            return self.value >= self.target
        return self.value <= self.target


@dataclass(frozen=True, slots=True)
class Bench:
    """Folders and sizes of a run of benchmarks."""

    home: Path
    sizes: Sizes

    def job(
        self, name: str, plugin: str, inputs: Path, *options: str, sample_memory: bool = False
    ) -> tuple[measure.Measured, Path]:
        """Run one job with two workers on an embedded cluster; return its cost and its output."""
        out = self.home / "out" / name
        shutil.rmtree(out, ignore_errors=True)
        command: list[str | Path] = [
            Path(sys.executable).with_name("mrcore"),
            "run",
            *(ROOT / plugin, inputs, "-o", out),
            *("-w", "2", "--json", *options),
        ]
        environment = {"XDG_STATE_HOME": str(self.home / "state")}
        return measure.run(command, environment=environment, sample_memory=sample_memory), out

    def against(
        self,
        ours: Callable[[], tuple[measure.Measured, Path]],
        peer: Callable[[], tuple[measure.Measured, Path]],
        same: Callable[[Path, Path], bool],
    ) -> tuple[measure.Measured, measure.Measured]:
        """Run both in turn; return the quickest run of each."""
        runs: list[tuple[measure.Measured, measure.Measured]] = []
        for _ in range(self.sizes.rounds):
            our_run, our_output = ours()
            peer_run, peer_output = peer()
            if not same(our_output, peer_output):
                raise WrongOutputError(f"{our_output} is not what {peer_output} holds.")
            runs.append((our_run, peer_run))
        shutil.rmtree(self.home / "out", ignore_errors=True)
        ours_best, peers_best = (
            min(side, key=lambda run: run.seconds) for side in zip(*runs, strict=True)
        )
        return ours_best, peers_best


def parts(output: Path) -> list[Path]:
    """Return the parts of an output, in order."""
    return sorted(output.glob("part-*"))


def same_lines(output: Path, peer: Path) -> bool:
    """Return whether the parts have the peer's lines, in any order."""
    lines = [line for part in parts(output) for line in part.read_bytes().splitlines()]
    return sorted(lines) == sorted(peer.read_bytes().splitlines())


def same_bytes(output: Path, peer: Path) -> bool:
    """Return whether the parts, concatenated, equal the peer's file."""
    return _digest(parts(output)) == _digest([peer])


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.blake2b()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(MIB):
                digest.update(block)
    return digest.hexdigest()


def _ratio_row(
    name: str, best: tuple[measure.Measured, measure.Measured], peer: str, target: float
) -> Row:
    ours, theirs = best
    detail = f"{_times(ours)}, {peer} {_times(theirs)}"
    value = theirs.seconds / ours.seconds
    return Row(name, value, "x", target, higher_is_better=True, detail=detail)


def _times(run: measure.Measured) -> str:
    return f"{run.seconds:.2f} s ({run.cpu_seconds:.2f} CPU s)"


def wordcount(bench: Bench) -> Row:
    """Word count by a plain generator against a hand-written multiprocessing script."""
    folder = data.words(bench.home, bench.sizes.text_mib)
    peer_out = bench.home / "out" / "peer.txt"

    def peer() -> tuple[measure.Measured, Path]:
        script = ROOT / "bench/peer_wordcount.py"
        files = sorted(folder.iterdir())
        return measure.run([sys.executable, script, peer_out, *files]), peer_out

    best = bench.against(
        lambda: bench.job("wordcount", "bench/plugins/wordcount.py", folder), peer, same_lines
    )
    return _ratio_row(f"word count, {bench.sizes.text_mib} MiB", best, "multiprocessing", 0.5)


def _sort(bench: Bench, plugin: str, input_format: str, target: float) -> Row:
    folder = data.records(bench.home, bench.sizes.records)
    peer_out = bench.home / "out" / "peer.txt"
    options = ("--total-order", "--input-format", input_format)

    def peer() -> tuple[measure.Measured, Path]:
        options: list[str | Path] = ["--parallel=2", "-T", bench.home, "-o", peer_out]
        command: list[str | Path] = ["sort", *options, *sorted(folder.iterdir())]
        return measure.run(command, environment={"LC_ALL": "C"}), peer_out

    best = bench.against(lambda: bench.job("sort", plugin, folder, *options), peer, same_bytes)
    name = f"sort, {bench.sizes.records:,} records, {input_format}"
    return _ratio_row(name, best, "sort --parallel=2", target)


def sort_arrow(bench: Bench) -> Row:
    """Total-order sort of 100-byte records by batches against GNU sort."""
    return _sort(bench, "examples/sort_arrow.py", "arrow", 1.0)


def sort_text(bench: Bench) -> Row:
    """Total-order sort of 100-byte records, line by line, against GNU sort."""
    return _sort(bench, "examples/sort.py", "text", 0.4)


def tasks(bench: Bench) -> Row:
    """Empty tasks a second, from the start of the command to its end."""
    folder = data.small(bench.home)
    count = bench.sizes.tasks
    run, out = bench.job("tasks", "bench/plugins/nothing.py", folder, "-r", str(count))
    if len(parts(out)) != count:
        raise WrongOutputError(f"{out} holds {len(parts(out))} parts where it should hold {count}.")
    shutil.rmtree(out)
    detail = f"{run.seconds:.2f} s in all"
    return Row(f"{count:,} empty tasks", count / run.seconds, "tasks/s", 2_000, True, detail)


def calls(bench: Bench) -> Row:
    """Calls a second by `map`, one a task, on two workers of one slot."""
    import mrcore

    count = bench.sizes.tasks
    with mrcore.LocalCluster(workers=2, slots=1) as cluster:
        list(cluster.map(abs, range(100), chunksize=1))  # the functions are there, and the children
        began = time.perf_counter()
        values = list(cluster.map(abs, range(count), chunksize=1))
        seconds = time.perf_counter() - began
        if values != list(range(count)):
            raise WrongOutputError("The values of the calls are not those of their arguments.")
        began = time.perf_counter()
        futures = [cluster.call(abs, number) for number in range(count // 5)]
        if [future.result() for future in futures] != list(range(count // 5)):
            raise WrongOutputError("The values of single calls are not those of their arguments.")
        single = count // 5 / (time.perf_counter() - began)
    detail = f"{single:,.0f} single calls/s"
    return Row(f"{count:,} calls", count / seconds, "calls/s", 1_000, True, detail)


def small(bench: Bench) -> Row:
    """A job over one small file, from the start of the command to its end; the median of five."""
    folder = data.small(bench.home)
    text = (folder / "small.txt").read_text()
    expected = sorted(f"{word}\t{n}".encode() for word, n in Counter(text.split()).items())
    times = []
    for _ in range(5):
        run, out = bench.job("small", "bench/plugins/wordcount.py", folder / "small.txt")
        lines = [line for part in parts(out) for line in part.read_bytes().splitlines()]
        if sorted(lines) != expected:
            raise WrongOutputError(f"{out} does not hold the words of {folder}.")
        times.append(run.seconds)
        shutil.rmtree(out)
    detail = f"best {min(times):.2f} s"
    return Row("one small file", statistics.median(times), "s", 1.5, False, detail)


def memory(bench: Bench) -> Row:
    """Most memory that all processes of the two heavy jobs hold together at --memory 256MiB."""
    jobs = [
        ("word count", "bench/plugins/wordcount.py", data.words(bench.home, bench.sizes.text_mib)),
        ("sort", "examples/sort.py", data.records(bench.home, bench.sizes.records)),
    ]
    peaks: list[tuple[float, str]] = []
    for name, plugin, folder in jobs:
        options = ["--memory", "256MiB", *(["--total-order"] if name == "sort" else [])]
        run, out = bench.job("memory", plugin, folder, *options, sample_memory=True)
        answer: dict[str, Any] = json.loads(run.stdout)
        if answer["state"] != "succeeded":
            raise WrongOutputError(f"{out}: the job ended as {answer['state']}.")
        shutil.rmtree(out)
        detail = f"{name} {run.pss_bytes / MIB:.0f} MiB (RSS {run.rss_bytes / MIB:.0f})"
        peaks.append((run.pss_bytes / MIB, detail))
    detail = ", ".join(text for _, text in peaks)
    return Row("memory at --memory 256MiB", max(peaks)[0], "MiB", 900, False, detail)


def skew(bench: Bench) -> Row:
    """One partition of 2 GiB with nine tenths of its pairs under one key, at --memory 256MiB.

    A child that exceeded it would be ended, and the job fail.
    """
    lines = bench.sizes.skewed_lines
    source = bench.home / "skewed.txt"
    source.write_text("".join(f"{number}\n" for number in range(lines)))
    run, out = bench.job(
        "skew", "bench/plugins/skewed.py", source, "-r", "1", "--memory", "256MiB",
        sample_memory=True,
    )  # fmt: skip
    (part,) = parts(out)
    counts = [int(line.rpartition(b"\t")[2]) for line in part.read_bytes().splitlines()]
    if (len(counts), max(counts)) != (10_000 * lines + 1, 90_000 * lines):
        raise WrongOutputError(f"{out} does not hold the counts of {source}.")
    shutil.rmtree(out)
    detail = f"{run.seconds:.0f} s"
    return Row("one partition, one hot key", run.pss_bytes / MIB, "MiB", 900, False, detail)


def distinct(bench: Bench) -> Row:
    """Word count of ten million different words at --memory 256MiB, a tenth of them seen twice.

    Nothing is there to combine, so all pairs are sorted, spilled and merged.
    """
    count = bench.sizes.keys
    folder = data.keys(bench.home, count)
    run, out = bench.job(
        "distinct", "bench/plugins/wordcount.py", folder, "-r", "4", "--memory", "256MiB",
        sample_memory=True,
    )  # fmt: skip
    check_distinct(out, count)
    shutil.rmtree(out)
    detail = f"{run.seconds:.1f} s"
    name = f"{count:,} distinct keys"
    return Row(name, run.pss_bytes / MIB, "MiB", 900, False, detail)


def check_distinct(output: Path, count: int) -> None:
    """Raise WrongOutputError unless the parts hold each key of `data.keys` and how often it comes.

    Keys have to ascend within each part.
    """
    found: list[np.ndarray] = []
    for part in parts(output):
        content = np.frombuffer(part.read_bytes(), np.uint8)
        if len(content) % _DISTINCT_BYTES:
            raise WrongOutputError(f"{part} does not hold lines of {_DISTINCT_BYTES} bytes.")
        lines = content.view(f"S{_DISTINCT_BYTES}")
        if not (lines[:-1] < lines[1:]).all():
            raise WrongOutputError(f"The keys of {part} do not ascend.")
        found.append(lines)
    numbers = data.key_numbers(count).tolist()
    expected = [b"%010x\t%d\n" % (n, 1 if i % 10 else 2) for i, n in enumerate(numbers)]
    if not np.array_equal(np.sort(np.concatenate(found)), np.sort(np.array(expected))):
        raise WrongOutputError(f"{output} does not hold each of {count:,} keys, counted.")


_DISTINCT_BYTES: Final = len(b"0123456789\t1\n")

CASES: Final[dict[str, Callable[[Bench], Row]]] = {
    "wordcount": wordcount,
    "sort-arrow": sort_arrow,
    "sort-text": sort_text,
    "tasks": tasks,
    "calls": calls,
    "small": small,
    "memory": memory,
    "skew": skew,
    "distinct": distinct,
}


def machine() -> str:
    """Return what the figures were measured on."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    return f"{len(os.sched_getaffinity(0))} cores, Python {version}"
