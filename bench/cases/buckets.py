"""A word count whose data is in a bucket, against the same on files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from bench import bucket, data, measure
from bench.rows import Row, Target
from bench.site import Bench, parts, times

DELAY_SECONDS: Final = 0.008
PLUGIN: Final = "bench/plugins/wordcount.py"
OPTIONS: Final = ("-r", "4")


def gs(bench: Bench) -> list[Row]:
    """Count words in a bucket where each request takes 8 ms more, and in files, in turn.

    The server runs on the same cores. Its processor time is in the first figure, which the target
    is for. The second one leaves it out.
    """
    folder = data.words(bench.home, bench.sizes.text_mib)
    used: list[tuple[float, float, int]] = []
    with bucket.served() as server:
        source = server.upload(folder, "in")

        def in_bucket() -> tuple[measure.Measured, Path]:
            server.delay(DELAY_SECONDS)
            cpu, requests = server.cpu_seconds(), server.requests()
            target = f"{bucket.URI}/out-{len(used)}"
            run = bench.command(PLUGIN, source, target, *OPTIONS, environment=server.environment)
            cpu, requests = server.cpu_seconds() - cpu, server.requests() - requests
            used.append((run.seconds, cpu, requests))
            server.prompt()
            copy = bench.home / "out" / "gs"
            shutil.rmtree(copy, ignore_errors=True)
            server.download(f"out-{len(used) - 1}", copy)
            return run, copy

        ours, files = bench.in_turn(
            in_bucket, [lambda: bench.job("words", PLUGIN, folder, *OPTIONS)], _same_parts
        )
    seconds, cpu, requests = min(used)
    name = "word count, gs with 8 ms more a request"
    detail = f"{times(ours)}, files {times(files)}, {requests} requests, server {cpu:.2f} CPU s"
    target = Target(1.3, 1.1, higher_is_better=False)
    alone = (seconds - cpu / measure.CORES) / files.seconds
    slowdown = Target(None, higher_is_better=False)
    return [
        Row(name, ours.seconds / files.seconds, "x", target, detail),
        Row("the same, without the server's CPU", alone, "x", slowdown, "spread over all cores"),
    ]


def _same_parts(output: Path, other: Path) -> bool:
    """Return whether two outputs have the same parts, byte for byte."""
    ours, theirs = parts(output), parts(other)
    return [path.name for path in ours] == [path.name for path in theirs] and all(
        a.read_bytes() == b.read_bytes() for a, b in zip(ours, theirs, strict=True)
    )
