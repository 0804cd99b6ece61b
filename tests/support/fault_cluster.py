"""A cluster of real daemons, on files or on a bucket, that a test can hurt at a chosen moment.

The jobs count words and stop at a gate, in map or in reduce, until the test opens it: so each fault
strikes while what it names is certain to be going on. The GCS server is a process of its own.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import subprocess
import sys
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mrcore.client.client import MasterClient
from mrcore.client.request import JobRequest, load_plugin, prepare
from mrcore.model.job import JobState, Plugin
from mrcore.model.snapshots import JobView
from mrcore.output import commit
from mrcore.rpc.credentials import state_credentials
from mrcore.storage.registry import storage_for
from tests.support.daemons import Daemon, start_master, start_worker
from tests.support.master_site import free_port
from tests.support.repository import ROOT
from tests.support.run_support import MARK, words
from tests.support.waiting import wait_until

BUCKET = "faults"
FILES = 6
GATES = """
import os, pathlib, time

def setup(context):
    global HERE, GATE
    HERE, GATE = pathlib.Path(context.params["here"]), context.params["gate"]

def note(what):
    with open(HERE / "runs", "a") as runs:
        runs.write(f"{what} {os.getppid()}\\n")

def gate(name):
    # At the gate the parent is named, which is the worker; who may pass finds it open.
    if name == GATE:
        (HERE / f"at-{name}-{os.getppid()}").touch()
        while not (HERE / "go").exists():
            time.sleep(0.01)
"""
"""Code by which a job notes what it runs, and stops at its gate."""
COUNTING = """
def map(key, value):
    if key[1] == 0:
        name = key[0].rpartition("/")[2]
        note(name)
        gate(name)
        gate("map")
    for word in value.split():
        yield word, 1

def reduce(key, values):
    gate("reduce")
    return sum(values)
"""


@functools.cache
def _plugin(folder: Path, source: str) -> tuple[Path, Plugin]:
    """Write a plugin and load it once, which takes a process."""
    path = folder / f"job-{hashlib.sha256(source.encode()).hexdigest()[:8]}.py"
    path.write_text(GATES + source)
    request = JobRequest(plugin=str(path), inputs=(str(path),), output="out", cwd=folder)
    return path, load_plugin(prepare(request)).spec.plugin


@contextlib.contextmanager
def gcs_process() -> Iterator[str]:
    """Serve a bucket from a process of its own; give the URL."""
    reader, writer = os.pipe()
    command = ["-m", "tests.gcsserver", "--bucket", BUCKET, "--ready-fd", str(writer)]
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, pass_fds=(writer,))
    os.close(writer)
    try:
        with os.fdopen(reader) as ready:
            yield ready.readline().strip()
    finally:
        process.kill()
        process.wait()


def set_faults(url: str, *rules: dict[str, object]) -> None:
    """Let the GCS server do this wrong from now on, and nothing else."""
    for method, body in (("DELETE", None), ("POST", json.dumps(rules).encode())):
        request = urllib.request.Request(f"{url}/_control/faults", data=body, method=method)
        urllib.request.urlopen(request).close()


@dataclass
class Cluster:
    """One state with its master, and the jobs and workers of one test after the other."""

    kind: str
    folder: Path
    url: str
    """URL of the GCS server, which serves jobs of both kinds."""
    stack: contextlib.ExitStack
    address: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    master: Daemon = field(init=False)

    @property
    def base_uri(self) -> str:
        return f"gs://{BUCKET}" if self.kind == "gs" else f"file://{self.folder}"

    @property
    def state_uri(self) -> str:
        return f"{self.base_uri}/state"

    def start_master(self, *arguments: str) -> Daemon:
        """Start a master, or start it again, on the same state and port."""
        daemon = start_master(
            self.folder, self.state_uri, *arguments, listen=self.address, env=self.environment
        )
        self.master = self.stack.enter_context(daemon)
        return self.master

    @property
    def environment(self) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": self.url}

    def restart_master(self) -> None:
        """Kill the master as in a power cut, and start it again."""
        self.master.kill()
        self.start_master()


class Scene:
    """One test's part of a cluster: its workers, its gate, its jobs, and what must be left."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.base_uri = f"{cluster.base_uri}/{uuid.uuid4().hex}"
        self.mark = uuid.uuid4().hex
        self.workers: list[Daemon] = []
        self._stack = contextlib.ExitStack()
        self.client = self._stack.enter_context(MasterClient(state_credentials(cluster.state_uri)))
        self.expected: Counter[str] = Counter()
        for number in range(FILES):
            self.write_input(number, "\n".join(words(60, seed=number)))

    def write_input(self, number: int, text: str) -> None:
        """Add an input; what a sequential run would count is known from then on."""
        uri = f"{self.base_uri}/in/{number}.txt"
        with storage_for(uri).open_write(uri) as writer:
            writer.write(text.encode())
            writer.commit()
        self.expected.update(text.split())

    def close(self) -> None:
        self._stack.close()

    def worker(self, *arguments: str, env: dict[str, str] | None = None) -> Daemon:
        """Start a worker, with one slot by default."""
        worker = self._stack.enter_context(
            start_worker(
                self.folder,
                self.cluster.state_uri,
                *arguments,
                env={**self.cluster.environment, MARK: self.mark, **(env or {})},
            )
        )
        self.workers.append(worker)
        return worker

    def out(self, name: str = "out") -> str:
        return f"{self.base_uri}/{name}"

    def request(
        self,
        gate: str = "",
        *,
        out: str = "",
        reduces: int = 3,
        source: str = COUNTING,
        lease: float = 1.0,
    ) -> tuple[JobRequest, Plugin]:
        """Return a job that stops at a gate: `map`, `reduce`, or a file such as `5.txt`.

        source: what its plugin has beside `GATES`.
        lease: in seconds; longer where no lease may end, however busy the machine is.
        """
        path, plugin = _plugin(self.cluster.folder, source)
        request = JobRequest(
            plugin=str(path),
            inputs=(f"{self.base_uri}/in/",),
            output=out or self.out(),
            cwd=self.folder,
            options={
                "reduces": reduces,
                "params": {"here": str(self.folder), "gate": gate},
                "lease": lease,
            },
        )
        return request, plugin

    def submit(
        self,
        gate: str = "",
        *,
        out: str = "",
        reduces: int = 3,
        source: str = COUNTING,
        lease: float = 1.0,
    ) -> str:
        """Start a job; return its id."""
        request, plugin = self.request(gate, out=out, reduces=reduces, source=source, lease=lease)
        prepared = prepare(request).with_plugin(plugin)
        return self.client.submit(prepared.spec, prepared.bundle.data).job_id

    def at_gate(self, name: str, count: int = 1) -> list[int]:
        """Wait until `count` workers stand at the gate; return their process ids."""

        def waiting() -> list[Path]:
            return sorted(self.folder.glob(f"at-{name}-*"))

        wait_until(lambda: len(waiting()) >= count)
        return [int(path.name.rpartition("-")[2]) for path in waiting()]

    def open_gate(self) -> None:
        (self.folder / "go").touch()

    def runs(self) -> Counter[str]:
        """Return how often the plugin noted what: inputs that a map begins, in `COUNTING`."""
        lines = (self.folder / "runs").read_text().splitlines()
        return Counter(line.partition(" ")[0] for line in lines)

    def wait(self, job_id: str) -> JobView:
        """Return the job once it has ended."""
        wait_until(lambda: self.client.get(job_id).state.final, 25.0)
        return self.client.get(job_id)

    def succeeds(self, job_id: str, out: str = "") -> JobView:
        """Wait for success, and look at everything that a job leaves."""
        job = self.ends_well(job_id)
        self.check_output(out or self.out())
        return job

    def ends_well(self, job_id: str) -> JobView:
        """Wait for success."""
        job = self.wait(job_id)
        assert job.state is JobState.SUCCEEDED, job.message
        return job

    def parts(self, out: str) -> dict[str, bytes]:
        """Return the parts of an output by name."""
        storage, prefix = storage_for(out), f"{out}/part-"
        return {info.uri[len(prefix) :]: storage.read(info.uri) for info in storage.list(prefix)}

    def check_output(self, out: str) -> None:
        """See that an output has the count of each word, and that nothing else is left."""
        found = b"".join(self.parts(out).values()).decode().splitlines()
        assert sorted(found) == sorted(f"{word}\t{count}" for word, count in self.expected.items())
        self.check_left(out)

    def check_left(self, out: str) -> None:
        """See that an output is whole, and that nothing lies beside it."""
        report = commit.verify(out)
        assert report.ok, report.problems
        # The temporaries and the claim go after the end of the job was written down.
        wait_until(lambda: not self.leavings(out))

    def leavings(self, out: str) -> list[str]:
        """Return what lies in an output beside the parts and the receipt."""
        prefix = f"{out}/"
        names = (info.uri[len(prefix) :] for info in storage_for(out).list(prefix))
        return [name for name in names if name != "_SUCCESS" and not name.startswith("part-")]

    def stop_workers(self) -> None:
        """Let all workers leave, in order, and see that nothing of theirs stays."""
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.wait()
        wait_until(lambda: not self.processes(), 5.0)

    def processes(self) -> list[str]:
        """Return the living workers and children of this scene."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().decode())
        return found
