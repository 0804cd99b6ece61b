"""The proof, stage by stage; each says what it has seen, or stops with a CloudError."""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen, TimeoutExpired

from tests.cloud.machines.cloud import CloudError
from tests.cloud.proof import plugin, rights, traces
from tests.cloud.proof.cluster import BUCKET, HOME, MRCORE, Cluster, until

PLUGIN = Path(plugin.__file__)
REDUCES = 3
PAUSE_SECONDS = 0.004
MASTER = "mrcore-proof-master"
BOOT_SECONDS = 300.0
JOB_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    workers: int = 3
    files: int = 24
    lines: int = 900
    preemptions: int = 2
    kills_master: bool = True
    scales_to: int = 4


SHORT = Size(workers=2, files=12, lines=500, preemptions=1, kills_master=False, scales_to=0)


class Teller:
    """Lines for a person: what happens, and how long after the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - self._start:7.1f} s  {text}\n")
        sys.stdout.flush()


class Story:
    """One run of the proof in a cloud that is up."""

    def __init__(self, cluster: Cluster, size: Size, teller: Teller) -> None:
        self._cluster = cluster
        self._size = size
        self._say = teller.say
        self._inputs = cluster.logs / "books"
        self._lost: list[str] = []

    def run(self) -> None:
        self._prepare()
        before = traces.in_cloud(self._cluster)
        self._up()
        job = self._start_job()
        self._preempt()
        if self._size.kills_master:
            self._kill_master()
        self._await_replacement()
        self._finish(job)
        self._compare()
        self._say(rights.check(self._cluster))
        self._account()
        if self._size.scales_to:
            self._scale()
        self._down(before)

    def _prepare(self) -> None:
        cluster, size = self._cluster, self._size
        self._say(f"a bucket with {size.files} books of {size.lines} lines")
        write_books(self._inputs, size)
        cluster.command(
            "gcloud", "storage", "buckets", "create", f"gs://{BUCKET}", "--location=us-central1"
        )
        cluster.command("gcloud", "storage", "cp", "--recursive", self._inputs, f"gs://{BUCKET}/")

    def _up(self) -> None:
        size = self._size
        self._say(f"mrcore gce up: a master and {size.workers} spot workers")
        most = max(size.workers, size.scales_to)
        told = self._cluster.up(
            f"--workers={size.workers}",
            f"--min-workers={size.workers}",
            f"--max-workers={most}",
            f"--input=gs://{BUCKET}/books/",
            f"--output=gs://{BUCKET}/counts/",
            seconds=BOOT_SECONDS,
        )
        (self._cluster.logs / "up.log").write_text(told)
        found = self._await_workers(size.workers)
        self._say(f"the workers have joined: {', '.join(found)}")

    def _await_workers(self, number: int) -> list[str]:
        def enough() -> list[str] | None:
            found = self._cluster.workers()
            return found if len(found) == number else None

        return until(f"{number} workers had joined", enough, BOOT_SECONDS)

    def _start_job(self) -> Popen[str]:
        self._say(f"mrcore gce run: word count, {self._size.files} maps and {REDUCES} reduces")
        job = self._cluster.background(
            self._cluster.logs / "run.log",
            *("scripts/gce", "run", PLUGIN, f"gs://{BUCKET}/books/"),
            *("-o", f"gs://{BUCKET}/counts", "-r", str(REDUCES)),
            *("--param", f"pause={PAUSE_SECONDS}"),
            *("--name=proof", "--keep", "--yes", *self._cluster.options()),
        )

        def begun() -> bool:
            if job.poll() is not None:
                raise CloudError(f"{self._log('run.log')}\nThe job ended before it was hurt.")
            return self._cluster.completed() > 0

        until("the first task was done", begun, BOOT_SECONDS)
        return job

    def _preempt(self) -> None:
        # Of workers that have joined: one that still boots would be no loss.
        victims = self._cluster.workers()[: self._size.preemptions]
        self._lost = [worker.rpartition("-")[0] for worker in victims]
        self._say(f"the cloud takes {' and '.join(self._lost)} away")
        for name in self._lost:
            self._cluster.hurt("preempt", instance=name)

    def _await_replacement(self) -> None:
        def replaced() -> list[str] | None:
            running = {str(vm["name"]) for vm in self._cluster.instances("worker")}
            is_whole = len(running) >= self._size.workers and running.isdisjoint(self._lost)
            return sorted(running) if is_whole else None

        names = until("the fleet had replaced what it lost", replaced, BOOT_SECONDS)
        self._say(f"the fleet has made up for it: {', '.join(names)}")

    def _kill_master(self) -> None:
        cluster = self._cluster
        done = cluster.completed()
        [master] = cluster.instances("master")
        self._say(f"the master's process is killed, with {done} tasks done")
        cluster.cloud.kill_service(int(master["id"]), "mrcore-master.service")
        done = until("a master answered again", cluster.completed, BOOT_SECONDS)
        self._say(f"systemd has started it again, and it knows of {done} tasks that are done")

    def _finish(self, job: Popen[str]) -> None:
        try:
            code = job.wait(JOB_SECONDS)
        except TimeoutExpired:
            raise CloudError(f"{self._log('run.log')}\nThe job does not end.") from None
        if code:
            raise CloudError(f"{self._log('run.log')}\nThe job ended with {code}.")
        self._say("the job has succeeded")

    def _compare(self) -> None:
        """Compare with a run in one process, byte by byte, and with a count not of mrcore's."""
        cluster = self._cluster
        alone, remote = cluster.logs / "alone", cluster.logs / "counts"
        cluster.command(
            *(MRCORE, "run", PLUGIN, self._inputs, "-o", alone),
            *("--engine", "inline", "-r", str(REDUCES)),
        )
        cluster.command(MRCORE, "verify", f"gs://{BUCKET}/counts")
        cluster.command(
            "gcloud", "storage", "cp", "--recursive", f"gs://{BUCKET}/counts", cluster.logs
        )
        parts = {path.name: path.read_bytes() for path in alone.glob("part-*")}
        if {path.name: path.read_bytes() for path in remote.glob("part-*")} != parts:
            raise CloudError(f"{remote} differs from {alone}.")
        lines = b"".join(parts.values()).decode().splitlines()
        if dict(line.split("\t") for line in lines) != count_words(self._inputs):
            raise CloudError(f"{alone} has not the counts of the words in {self._inputs}.")
        self._say(f"its {len(parts)} parts are those of a run in one process, byte by byte")

    def _account(self) -> None:
        """Look whether the books have what was lost and spent, over the master's death too."""
        python = MRCORE.with_name("python")
        told = self._cluster.command(
            *(python, "-P", "-m", "mrcore.cost", "report", f"--state={HOME}/state", "--json")
        )
        books = json.loads(told)
        empty = [
            name for name in ("boot", "idle", "master", "class_a", "class_b") if not books[name]
        ]
        if books["preemptions"] != len(self._lost) or len(books["jobs"]) != 1 or empty:
            raise CloudError(f"The books of the fleet are wrong: {told}")
        self._say(
            f"the books say ${books['dollars']:.4f}, {books['preemptions']} preemptions and "
            f"{books['class_a'] + books['class_b']} storage operations"
        )

    def _scale(self) -> None:
        for number in (self._size.scales_to, 1):
            self._say(f"mrcore gce scale {number}")
            self._cluster.gce("scale", str(number), f"--min-workers={number}")

            def settled(number: int = number) -> bool:
                return len(self._cluster.instances("worker")) == number

            until(f"there were {number} workers", settled, BOOT_SECONDS)
            self._await_workers(number)
        self._say("the fleet has followed")

    def _down(self, before: list[str]) -> None:
        logs = [name for name in self._cluster.objects() if "/logs/" in name]
        wanted = [f"mrcore/proof/logs/{name}/tail.log" for name in self._lost]
        if missing := set(wanted) - set(logs):
            raise CloudError(f"These logs of VMs are not in the bucket: {', '.join(missing)}.")
        self._say("mrcore gce down")
        self._cluster.gce("down", f"--home={HOME}")
        self._cluster.gce("audit")
        left = {
            trace
            for trace in traces.in_cloud(self._cluster)
            if not trace.startswith("object counts/")
        } - set(before)
        if left:
            raise CloudError("Left in the cloud:\n" + "\n".join(sorted(left)))
        self._say("nothing is left: no VM, group, template, firewall, binding or object")

    def _log(self, name: str) -> str:
        return (self._cluster.logs / name).read_text()


def write_books(folder: Path, size: Size) -> None:
    """Write text of a few thousand words that come back, the same in every run."""
    rng = random.Random(7)
    words = [f"{rng.choice('abcdefgh')}{rng.randrange(2000)}" for _ in range(4000)]
    folder.mkdir()
    for number in range(size.files):
        lines = (" ".join(rng.choices(words, k=12)) for _ in range(size.lines))
        (folder / f"book-{number:03}.txt").write_text("\n".join(lines) + "\n")


def count_words(folder: Path) -> dict[str, str]:
    counts = Counter[str]()
    for path in folder.iterdir():
        counts.update(path.read_text().split())
    return {word: str(count) for word, count in counts.items()}
