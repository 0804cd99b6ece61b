"""Costs of one master with a thousand workers that pretend, over real gRPC with a real journal."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import measure
from bench.fleet import Fleet, fleet
from bench.rows import Row, Target, WrongOutputError
from bench.site import ROOT, Bench
from mrcore.client.client import MasterClient
from mrcore.rpc.credentials import find_credentials
from mrcore.rpc.roles import Role

START_SECONDS: Final = 20.0
TASK_SECONDS: Final = 1.0
"""Mean time of a task where the answers are timed."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of a master from the submission of a job to its last result."""

    tasks: int
    seconds: float
    cpu_seconds: float
    """Processor time of the master."""
    peak_bytes: int
    """Most memory of the master's process so far."""


def cost(bench: Bench) -> list[Row]:
    """Measure the processor time of the master for each task that takes no time."""
    seen = measured(bench)
    target = Target(0.2, 0.1, higher_is_better=False)
    detail = f"{bench.sizes.fleet_workers:,} workers, {seen.tasks:,} tasks"
    return [Row("master CPU a task", 1_000 * seen.cpu_seconds / seen.tasks, "ms", target, detail)]


def measured(bench: Bench) -> Costs:
    """Run tasks that take no time with as many workers as the sizes say; return what they cost."""
    with _master(bench.home) as (process, state):
        fleet, costs = _work(bench, process, state, 0.0)
    if fleet.results < bench.sizes.fleet_tasks:
        raise WrongOutputError(f"Of the tasks {fleet.results:,} were reported, and not all.")
    return costs


def answers(bench: Bench) -> list[Row]:
    """Measure how long calls with a result take while each worker has tasks of about one second."""
    sizes = bench.sizes
    with _master(bench.home) as (process, state):
        seen, _ = _work(bench, process, state, TASK_SECONDS)
    # The first tasks of all workers end at once, which is a burst of its own.
    steady = sorted(seen.latencies[2 * sizes.fleet_workers :])
    if not steady:
        raise WrongOutputError("The workers have had too few tasks to time the answers.")
    target = Target(50, 20, higher_is_better=False)
    p99 = 1_000 * steady[int(0.99 * len(steady))]
    detail = f"{sizes.fleet_workers:,} workers, median {1_000 * statistics.median(steady):.1f} ms"
    return [Row("p99 of a call with a result", p99, "ms", target, detail)]


def _work(bench: Bench, process: int, state: str, task_seconds: float) -> tuple[Fleet, Costs]:
    """Let a fleet join, submit a job of map tasks, and wait for all their results.

    Returns what the fleet has seen, and what the master has cost since the submission.
    """
    tasks = bench.sizes.fleet_tasks
    numbers = bench.home / "fleet.txt"
    numbers.write_text("".join(f"{number:07d}\n" for number in range(tasks)))
    pretended = fleet(find_credentials(None, state, role=Role.WORKER), state, task_seconds)
    began, before, job_id = 0.0, 0.0, ""
    with MasterClient(state=state) as client:

        def submit() -> None:
            nonlocal began, before, job_id
            began, before = time.perf_counter(), measure.cpu_seconds_of(process)
            job = client.submit_job(
                ROOT / "bench/plugins/nothing.py",
                inputs=[str(numbers)],
                output=bench.home / "out" / "fleet",
                map_tasks=tasks,
                reduces=1,
            )
            job_id = job.job_id

        asyncio.run(pretended.run(bench.sizes.fleet_workers, tasks, submit))
        seconds, used = time.perf_counter() - began, measure.cpu_seconds_of(process) - before
        peak = measure.peak_bytes_of(process)
        client.cancel(job_id)
    return pretended, Costs(pretended.results, seconds, used, peak)


@contextlib.contextmanager
def _master(home: Path) -> Iterator[tuple[int, str]]:
    """Run a master with a state of its own; yield its process and the state's URI."""
    folder = home / "fleet-state"
    shutil.rmtree(folder, ignore_errors=True)
    state = folder.as_uri()
    command = [sys.executable, "-m", "mrcore.master", "--state", state, "--listen", "127.0.0.1:0"]
    with (home / "fleet-master.log").open("w") as log:
        process = subprocess.Popen([*command], stdout=log, stderr=log)
        try:
            find_credentials(None, state, reach_seconds=START_SECONDS)
            yield process.pid, state
        finally:
            process.kill()
            process.wait()
    shutil.rmtree(folder, ignore_errors=True)
