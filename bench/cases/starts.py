"""Starts of a master on the states of clusters that have done a million tasks, and then crashed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, cast

from bench import measure
from bench.rows import Row, Target
from bench.site import Bench
from mrcore.master.core.facts import Fact, JobCleaned, JobEnded, JobSubmitted, TaskWon, WorkerJoined
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.shell.compactor import Compactor
from mrcore.master.shell.journal import Journal
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import Input, JobSpec, JobState, Plugin, StepFlags, Versions
from mrcore.model.stages import Part, Run, Runs, Splits, StagePlan
from mrcore.model.task import TaskOutput
from mrcore.storage.base import ObjectInfo, Storage
from mrcore.storage.registry import storage_for
from mrcore.util.clock import SYSTEM

MAPS: Final = 990
REDUCES: Final = 10
WINS_AN_ENTRY: Final = 100
MIB: Final = 2**20
STATE: Final = "mem://bench/state"


@dataclass(frozen=True, slots=True)
class Start:
    """Cost of one start."""

    seconds: float
    """Time until the master serves."""
    cpu_seconds: float
    peak_bytes: int
    """Most memory of its process."""


def history(tasks: int, wins: int = WINS_AN_ENTRY) -> Storage:
    """Return the state that a master leaves whose jobs had this number of tasks in all.

    It was killed in the middle of the last one. An entry has up to `wins` results.
    """
    storage = storage_for(STATE)
    for info in list(storage.list(f"{STATE}/")):
        storage.delete(info.uri)  # what an earlier call has left
    machine = Machine(Limits(), Random(1))
    journal = Journal(storage, STATE, "bench", SYSTEM)
    for read in journal.take_over():
        journal.feed(read, machine)
    compactor = Compactor(journal.snapshots, journal.packs, 0, SYSTEM)
    for facts in _entries(tasks, wins):
        for fact in facts:
            machine.apply(fact)
        number, durable = journal.number + 1, machine.cluster.durable
        draft = compactor.encode_if_due(number, durable, idle=False)
        compactor.add(number, journal.append(facts))
        if draft is not None:
            compactor.write(draft)
    compactor.close()
    return storage


def _entries(tasks: int, wins_an_entry: int) -> Iterator[list[Fact]]:
    yield [WorkerJoined(f"worker-{number}") for number in range(20)]
    jobs = max(1, tasks // (MAPS + REDUCES))
    for number in range(jobs):
        name = f"job-{number:06d}"
        yield [_submitted(name)]
        wins = [_won(name, 0, index) for index in range(MAPS)]
        wins += [_won(name, 1, index) for index in range(REDUCES)]
        last = number == jobs - 1
        for first in range(0, len(wins) // 2 if last else len(wins), wins_an_entry):
            yield list(wins[first : first + wins_an_entry])
        if not last:
            now = SYSTEM.wall()
            yield [JobEnded(job_id=name, state=JobState.SUCCEEDED, wall_seconds=now)]
            yield [JobCleaned(name)]


def _submitted(name: str) -> Fact:
    source = f"gs://bucket/{name}/in/"
    return JobSubmitted(
        job_id=name,
        request_id=name,
        spec=JobSpec(
            name=name,
            plugin=Plugin(sha256="0" * 64, name="plugin", steps=(StepFlags(),)),
            inputs=(Input(uri=source, base_uri=source, base_given=source),),
            output_uri=f"gs://bucket/{name}/out",
            versions=Versions("3.11", "1", "1", "1"),
        ),
        stages=(StagePlan(MAPS, Splits(), Run()), StagePlan(REDUCES, Runs((0,)), Part())),
        claim_generation="1",
        wall_seconds=SYSTEM.wall(),
    )


def _won(name: str, stage: int, index: int) -> Fact:
    uri = f"gs://bucket/{name}/out/_tmp/{name}/{stage}-{index:05d}@1.{index}"
    return TaskWon(
        attempt=AttemptId(TaskId(name, stage, index), AttemptNumber(1, index + 1)),
        worker_id=f"worker-{index % 20}",
        output=TaskOutput(
            object=ObjectInfo(uri, 1_000_000, str(1_700_000_000_000_000 + index)),
            digest=bytes(16),
            section_bytes=(100_000,) * REDUCES if stage == 0 else (),
            records_in=10_000,
            records_out=10_000,
            bytes_in=1_000_000,
            bytes_out=1_000_000,
            counters={"words": 10_000},
            elapsed_seconds=1.0,
        ),
    )


class _Counting:
    """A store that counts what is read."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.reads: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def read(self, uri: str, **options: Any) -> bytes:
        """Read an object; count it by its kind."""
        self.reads[uri.removeprefix(f"{STATE}/").partition("/")[0]] += 1
        return self._storage.read(uri, **options)


def objects_read(storage: Storage) -> Counter[str]:
    """Return how many objects of each kind the next master reads."""
    counting = _Counting(storage)
    machine = Machine(Limits(), Random(1))
    journal = Journal(cast("Storage", counting), STATE, "next", SYSTEM)
    for read in journal.take_over():
        journal.feed(read, machine)
    return counting.reads


def store_as_files(storage: Storage, folder: Path) -> None:
    """Write all objects of a state as files."""
    shutil.rmtree(folder, ignore_errors=True)
    for info in storage.list(f"{STATE}/"):
        path = folder / info.uri.removeprefix(f"{STATE}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(storage.read(info.uri))


def start(folder: Path) -> Start:
    """Start a master on a state in files, and kill it once it serves."""
    ready_read, ready_write = os.pipe()
    command = [Path(sys.executable).with_name("mrcore"), "master", "--state", folder]
    options = ["--listen", "127.0.0.1:0", "--ready-fd", str(ready_write)]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*map(str, command), *options],
        pass_fds=(ready_write,),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(ready_write)
    try:
        with os.fdopen(ready_read, "rb") as ready:
            if not ready.readline():
                raise RuntimeError(f"The master did not start on {folder}.")
        seconds = time.perf_counter() - began
        peak_bytes = measure.peak_bytes_of(process.pid)
    finally:
        os.kill(process.pid, signal.SIGKILL)  # `Popen` would wait for one that has ended
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = -signal.SIGKILL
    return Start(seconds, usage.ru_utime + usage.ru_stime, peak_bytes)


def start_after_crash(bench: Bench) -> list[Row]:
    """Start a master on what one has left that had done a million tasks and was killed."""
    tasks = 100 * bench.sizes.tasks
    storage = history(tasks)
    best = _quickest(bench, storage)
    reads = objects_read(storage)
    name = f"start after {tasks:,} tasks"
    detail = ", ".join(f"{count} of {kind}" for kind, count in sorted(reads.items()))
    return [
        Row(name, best.seconds, "s", Target(2.0, None, False), f"{best.cpu_seconds:.2f} CPU s"),
        Row(f"{name}: memory", best.peak_bytes / MIB, "MiB", Target(200.0, None, False), "at most"),
        Row(f"{name}: reads", reads.total(), "objects", Target(48.0, None, False), detail),
    ]


def start_on_journal(bench: Bench) -> list[Row]:
    """Start a master on what one has left that had written 100,000 entries of its journal."""
    tasks, wins = 100 * bench.sizes.tasks, WINS_AN_ENTRY // 10
    storage = history(tasks, wins)
    best = _quickest(bench, storage)
    reads = objects_read(storage).total()
    detail = f"{best.cpu_seconds:.2f} CPU s, {best.peak_bytes / MIB:.0f} MiB, {reads:,} objects"
    name = f"start after {tasks // wins:,} entries"
    return [Row(name, best.seconds, "s", Target(5.0, 1.0, False), detail)]


def _quickest(bench: Bench, storage: Storage) -> Start:
    folder = bench.home / "out" / "state"
    store_as_files(storage, folder)
    starts = [start(folder) for _ in range(3)]
    shutil.rmtree(folder)
    return min(starts, key=lambda one: one.seconds)
