"""Base of all stories: their beginning, their end, and the steps that they share.

Each step says what it has seen, or stops the story with a CloudError.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from tests.cloud.machines.cloud import CloudError
from tests.cloud.proof import plugin, traces
from tests.cloud.proof.books import Books, count_words, write_books
from tests.cloud.proof.cluster import BUCKET, HOME, MASTER, MRCORE, ZONE, Cluster, until
from tests.cloud.proof.runs import Run

PLUGIN = Path(plugin.__file__)
OUTPUT = f"gs://{BUCKET}/counts"
REDUCES = 3
BOOT_SECONDS = 600.0
JOB_SECONDS = 900.0


class Teller:
    """Lines for a person: what happens, and how long after the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - self._start:7.1f} s  {text}\n")
        sys.stdout.flush()


class Story(ABC):
    """One story in a cloud that is up and empty; `play` is what makes it different from others."""

    name: ClassVar[str]
    about: ClassVar[str]
    """Summary for people who choose a story."""
    books: ClassVar[Books] = Books()
    pause_seconds: ClassVar[float] = 0.004
    """Time that a map takes for a line."""
    workers: ClassVar[int] = 2
    through_tunnel: ClassVar[bool] = False
    """Whether the runner reaches the masters through a tunnel only."""
    from_image: ClassVar[bool] = False
    """Whether VMs boot from an image on which mrcore is installed, and not from Debian's."""

    def __init__(self, cluster: Cluster, teller: Teller) -> None:
        self.cluster = cluster
        self.say = teller.say
        self._inputs = cluster.logs / "books"
        self._runs = 0

    @abstractmethod
    def play(self) -> None:
        """Let it happen."""

    def run(self) -> None:
        """Play the story from an empty project to an empty project."""
        self.say(f"{self.name}: {self.about}")
        self._prepare()
        before = traces.in_cloud(self.cluster)
        self.play()
        self._check_left(before)

    def _prepare(self) -> None:
        cluster, books = self.cluster, self.books
        self.say(f"a bucket with {books.files} books of {books.lines} lines")
        write_books(self._inputs, books)
        cluster.gcloud("storage", "buckets", "create", f"gs://{BUCKET}", "--location=us-central1")
        cluster.gcloud("storage", "cp", "--recursive", self._inputs, f"gs://{BUCKET}/")

    def _check_left(self, before: list[str]) -> None:
        self.cluster.gce("audit")
        output = "object counts/"
        now = {trace for trace in traces.in_cloud(self.cluster) if not trace.startswith(output)}
        if left := now - set(before):
            raise CloudError("Left in the cloud:\n" + "\n".join(sorted(left)))
        self.say("nothing is left: no VM, group, template, firewall, binding or object")

    # -- the cluster -----------------------------------------------------------------------------

    def up(self, *options: str) -> None:
        """Make the cluster, or what is missing of it; return when the master answers."""
        self.say(f"mrcore gce up --workers={self.workers}")
        told = self.cluster.up(
            f"--workers={self.workers}",
            f"--min-workers={self.workers}",
            f"--input=gs://{BUCKET}/books/",
            f"--output={OUTPUT}/",
            *options,
            seconds=BOOT_SECONDS * 2,
        )
        (self.cluster.logs / "up.log").write_text(told)

    def await_workers(self, number: int | None = None) -> list[str]:
        """Wait until a number of workers, or all, have joined; return their ids."""
        wanted = self.workers if number is None else number

        def joined() -> list[str] | None:
            found = self.cluster.workers()
            return found if len(found) == wanted else None

        found = until(f"{wanted} workers had joined", joined, BOOT_SECONDS)
        self.say(f"the workers have joined: {', '.join(found)}")
        return found

    def delete_master(self) -> None:
        """Delete the VM of the master, as by mistake."""
        self.say("somebody deletes the VM of the master")
        self.cluster.gcloud("compute", "instances", "delete", MASTER, f"--zone={ZONE}")

    def await_master(self, after_epoch: int) -> None:
        """Wait until another start of a master than the one of that number answers."""

        def leads() -> bool:
            return self.cluster.epoch() > after_epoch and self.cluster.mrcore("jobs") is not None

        until("a master answered again", leads, BOOT_SECONDS)

    def down(self) -> None:
        """Remove the cluster."""
        self.say("mrcore gce down")
        self.cluster.gce("down", f"--home={HOME}")

    # -- the job ---------------------------------------------------------------------------------

    def start_run(self, *options: str) -> Run:
        """Start `mrcore gce run`, for the cluster that is there or one of its own."""
        self._runs += 1
        books = self.books.files
        self.say(f"mrcore gce run: word count, {books} maps and {REDUCES} reduces")
        return self.cluster.run(
            f"run-{self._runs}.log",
            *(PLUGIN, f"gs://{BUCKET}/books/", "-o", OUTPUT, "-r", str(REDUCES)),
            *("--param", f"pause={self.pause_seconds}", *options),
        )

    def await_tasks(self, run: Run, number: int, state: str = "completed") -> None:
        """Wait until `number` tasks are in a state, of a job that must not end before."""

        def there() -> bool:
            run.check_alive()
            return self.cluster.tasks(state) >= number

        until(f"{number} tasks were {state}", there, JOB_SECONDS)

    def finish(self, run: Run) -> None:
        """Wait until the job has succeeded, and look at its output."""
        run.end(0, JOB_SECONDS)
        self.say("the job has succeeded")
        self.compare()

    def compare(self) -> None:
        """Compare with a run in one process, byte by byte, and with a count not of mrcore's."""
        cluster = self.cluster
        alone, remote = cluster.logs / "alone", cluster.logs / "counts"
        cluster.command(
            *(MRCORE, "run", PLUGIN, self._inputs, "-o", alone),
            *("--engine", "inline", "-r", str(REDUCES)),
        )
        cluster.command(MRCORE, "verify", OUTPUT)
        cluster.gcloud("storage", "cp", "--recursive", OUTPUT, cluster.logs)
        parts = {path.name: path.read_bytes() for path in alone.glob("part-*")}
        if {path.name: path.read_bytes() for path in remote.glob("part-*")} != parts:
            raise CloudError(f"{remote} differs from {alone}.")
        lines = b"".join(parts.values()).decode().splitlines()
        if dict(line.split("\t") for line in lines) != count_words(self._inputs):
            raise CloudError(f"{alone} has not the counts of the words in {self._inputs}.")
        self.say(f"its {len(parts)} parts are those of a run in one process, byte by byte")

    def check_kept(self, winners: dict[str, str]) -> None:
        """Look whether tasks that had been completed then were left alone since."""
        now = self.cluster.winners()
        if again := [task for task, attempt in winners.items() if now.get(task) != attempt]:
            raise CloudError(f"These tasks were done again: {', '.join(again)}.")
        self.say(f"none of the {len(winners)} tasks that had been done was done again")


def machine_of(worker: str) -> str:
    """Return the name of the VM that a worker runs on."""
    return worker.rpartition("-")[0]
