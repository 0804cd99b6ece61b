"""Costs of a job beyond the user's code: its start, its tasks and its calls."""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from collections import Counter

from bench import data, measure
from bench.rows import NO_TARGET, Row, Target, WrongOutputError
from bench.site import Bench, parts

STARTS = 5


def tasks(bench: Bench) -> list[Row]:
    """Run empty tasks, against processes that do nothing and are started two at a time."""
    folder = data.small(bench.home)
    count = bench.sizes.tasks
    run, out = bench.job("tasks", "bench/plugins/nothing.py", folder, "-r", str(count))
    if len(parts(out)) != count:
        raise WrongOutputError(f"{out} holds {len(parts(out))} parts where it should hold {count}.")
    shutil.rmtree(out)
    numbers = bench.home / "numbers.txt"
    numbers.write_text("".join(f"{number}\n" for number in range(count)))
    other = measure.run(["xargs", "--arg-file", numbers, "-P2", "-n1", "true"])
    ours, theirs = count / run.seconds, count / other.seconds
    detail = f"{ours:,.0f} tasks/s, xargs -P2 {theirs:,.0f} processes/s"
    return [Row(f"{count:,} empty tasks", ours / theirs, "x", Target(2.0, 4.0), detail)]


def calls(bench: Bench) -> list[Row]:
    """Make calls by `map`, one a task, on two workers of one slot."""
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
    return [Row(f"{count:,} calls", count / seconds, "calls/s", NO_TARGET, detail)]


def small(bench: Bench) -> list[Row]:
    """Run a job over one small file, against a Python that only imports gRPC and pyarrow.

    Both are medians, and run in turn.
    """
    folder = data.small(bench.home)
    text = (folder / "small.txt").read_text()
    expected = sorted(f"{word}\t{n}".encode() for word, n in Counter(text.split()).items())
    times, imports = [], []
    for _ in range(STARTS):
        run, out = bench.job("small", "bench/plugins/wordcount.py", folder / "small.txt")
        lines = [line for part in parts(out) for line in part.read_bytes().splitlines()]
        if sorted(lines) != expected:
            raise WrongOutputError(f"{out} does not hold the words of {folder}.")
        times.append(run.seconds)
        shutil.rmtree(out)
        imports.append(measure.run([sys.executable, "-c", "import grpc, pyarrow"]).seconds)
    ours, theirs = statistics.median(times), statistics.median(imports)
    target = Target(2.5, 1.8, higher_is_better=False)
    detail = f"{ours:.2f} s, python -c 'import grpc, pyarrow' {theirs:.2f} s"
    return [Row("one small file, whole command", ours / theirs, "x", target, detail)]
