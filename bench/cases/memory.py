"""The memory that all processes of a job hold together at `--memory 256MiB`, on two slots."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import data
from bench.rows import Row, Target, WrongOutputError
from bench.site import MIB, Bench, parts

BOUND: Final = Target(900.0, higher_is_better=False)
_DISTINCT_BYTES: Final = len(b"0123456789\t1\n")


def memory(bench: Bench) -> list[Row]:
    """Count the words of four times the usual text, and sort the records."""
    text = data.words(bench.home, 4 * bench.sizes.text_mib)
    at_most = Target(600, 400, higher_is_better=False)
    words = _peak(bench, "word count", "bench/plugins/wordcount.py", text, at_most)
    records = data.records(bench.home, bench.sizes.records)
    at_most = Target(900, 600, higher_is_better=False)
    sort = _peak(bench, "sort", "examples/sort.py", records, at_most, "--total-order")
    return [words, sort]


def _peak(bench: Bench, name: str, plugin: str, folder: Path, target: Target, *options: str) -> Row:
    run, out = bench.job(
        "memory", plugin, folder, "--memory", "256MiB", *options, sample_memory=True
    )
    answer: dict[str, Any] = json.loads(run.stdout)
    if answer["state"] != "succeeded":
        raise WrongOutputError(f"{out}: the job ended as {answer['state']}.")
    shutil.rmtree(out)
    detail = f"RSS {run.rss_bytes / MIB:.0f} MiB, {run.seconds:.1f} s"
    return Row(f"memory of the {name}", run.pss_bytes / MIB, "MiB", target, detail)


def skew(bench: Bench) -> list[Row]:
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
    return [Row("one partition, one hot key", run.pss_bytes / MIB, "MiB", BOUND, detail)]


def distinct(bench: Bench) -> list[Row]:
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
    return [Row(name, run.pss_bytes / MIB, "MiB", BOUND, detail)]


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
