"""The runner against the real gcloud, clouds of ours, and wheels that hold nothing."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from mrcore.gce import record, wheelhouse
from mrcore.util.clock import SYSTEM
from tests.cloud.compute.sandbox import Ran, Sandbox
from tests.cloud.compute.server import PROJECT
from tests.gcsserver.model import Conditions
from tests.support import waiting
from tests.support.repository import ROOT

RUNNER = ROOT / "scripts/gce"
BUCKET = "bkt"
ZONE = "us-central1-a"
NAME = "demo"
HOME = f"gs://{BUCKET}/mrcore/{NAME}"
WAIT_SECONDS = 480.0
HARMLESS = re.compile(r"\.(wait|test|getPolicy|getIamPolicy|listManagedInstances)$")
"""Methods that change nothing, though they are posted."""
WORD_COUNT = """
def map(key, value):
    for word in value.split():
        yield word, 1

def reduce(key, values):
    return sum(values)
"""


def make_hollow_wheels(folder: Path) -> None:
    """Make a wheel without content for each package that mrcore needs, for pip to find.

    And no others: pip goes through the whole folder for each package that it looks for.
    """
    folder.mkdir()
    pins = wheelhouse.installed_pins(metadata.requires("mrcore") or ())
    for name, version in [*(pin.split("==") for pin in pins), ("pip", "99")]:
        stem = f"{name.replace('-', '_')}-{version}"
        info = f"{stem}.dist-info"
        with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            )
            wheel.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{info}/RECORD", "")


def unpack_pip(folder: Path) -> None:
    """Make a folder to import pip from: out of a wheel it is compiled anew at each start."""
    folder.mkdir()
    for path in itertools.islice(wheelhouse.bundled_pips(), 1):
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(folder)


def wait_until(true: Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Wait until something holds; fail if it never does."""
    waiting.wait_until(true, seconds, what=what, pause_seconds=0.05)


@dataclass(slots=True)
class Running:
    """A command that runs, in a session of its own as in a terminal."""

    process: subprocess.Popen[str]
    errors: Path

    def said(self) -> str:
        """Return what it has said so far, on stderr."""
        return self.errors.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal as Ctrl-C does: to every process of the terminal."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self) -> Ran:
        """Wait until it has ended."""
        out, _ = self.process.communicate(timeout=WAIT_SECONDS)
        return Ran(self.process.returncode, out, self.said())


@dataclass(slots=True)
class World:
    """One sandbox with a bucket, and the runner beside it."""

    sandbox: Sandbox
    wheels: Path
    pip: Path
    folder: Path
    loaded: dict[str, str] = field(default_factory=dict)
    """Variables that make calls of the runner quick; see tests.cloud.loaded."""
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return {
            **self.sandbox.environment(),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PYTHONPATH": str(self.pip),
            "MRCORE_PYTHON": sys.executable,
            "USER": "ada",
            **(extra or {}),
        }

    def start(self, *words: str, extra: Mapping[str, str] | None = None) -> Running:
        """Start `gce WORDS`, as a process that signals reach."""
        # What a killed one leaves goes with the folder of the test.
        environment = {"TMPDIR": str(self.folder), **self.environment(extra)}
        errors = self.folder / f"said-{SYSTEM.monotonic()}"

        def inside() -> subprocess.Popen[str]:
            with errors.open("w") as said:
                return subprocess.Popen(
                    [RUNNER, *words],
                    cwd=self.folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    text=True,
                    start_new_session=True,
                )

        return Running(self.sandbox.namespace.call(inside), errors)

    def gce(self, *words: str, extra: Mapping[str, str] | None = None) -> Ran:
        """Run `gce WORDS` to its end."""
        running = self.start(*words, extra={**self.loaded, **(extra or {})})
        try:
            return running.end()
        finally:
            running.signal(signal.SIGKILL)

    def up(self, *words: str) -> Ran:
        """Make the cluster of these tests, inside the network."""
        return self.gce("up", *self.where(), *words)

    def where(self) -> list[str]:
        return [f"--name={NAME}", f"--bucket={BUCKET}", f"--zone={ZONE}", "--connect=direct"]

    def accounts(self) -> list[str]:
        """Return the options that name accounts, so that the runner changes no permissions."""
        emails = []
        for role in ("master", "worker"):
            self.sandbox.gcloud("iam", "service-accounts", "create", f"own-{role}")
            email = f"own-{role}@{PROJECT}.iam.gserviceaccount.com"
            emails.append(f"--service-account-{role}={email}")
        return emails

    def expire_record(self) -> None:
        """Write the record of a cluster that should be gone by now."""
        image = "projects/debian-cloud/global/images/family/debian-12"
        fields = {
            "name": NAME,
            "home": HOME,
            "project": PROJECT,
            "owner": "ada",
            "image": image,
            "location": f"zones/{ZONE}",
            "master_zone": ZONE,
            "connect": "direct",
            "machine_types": ("e2-standard-4",),
            "master_machine_type": "e2-standard-2",
            "provisioning": "spot",
            "workers": 1,
            "max_workers": 1,
            "disk_gib": 50,
            "network": "default",
            "subnet": "",
            "max_run_seconds": 60,
            "idle_timeout": "1m",
            "created_seconds": 1000,
            "expires_seconds": 2000,
        }
        content = msgspec.json.encode(msgspec.convert(fields, record.Record)).decode()
        self.put(f"mrcore/{NAME}/cluster.json", content)

    def start_daemons(self, workers: int = 0) -> None:
        """Start a real master, and workers, as the VMs of the cluster would."""
        self._start_daemon("master", "--listen", "127.0.0.1:0")
        leader = f"mrcore/{NAME}/state/leader.json"
        wait_until(lambda: leader in self.objects(), "a master leads")
        self.start_workers(workers)

    def start_workers(self, count: int) -> None:
        for _ in range(count):
            self._start_daemon("worker")

    def _start_daemon(self, module: str, *options: str) -> None:
        command = [
            sys.executable,
            "-P",
            "-m",
            f"mrcore.{module}",
            "--state",
            f"{HOME}/state",
            *options,
        ]
        environment = self.environment()

        def inside() -> subprocess.Popen[bytes]:
            path = self.folder / f"{module}-{len(self.daemons)}.log"
            with path.open("wb") as log:
                return subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )

        self.daemons.append(self.sandbox.namespace.call(inside))

    @contextlib.contextmanager
    def machines(self, workers: int) -> Iterator[None]:
        """Let the real daemons live exactly as long as the VM of the master does."""
        done = threading.Event()

        def tend() -> None:
            while not done.is_set():
                is_there = f"mrcore-{NAME}-master" in self.made("instances")
                if is_there and not self.daemons:
                    self.start_daemons(workers=workers)
                elif self.daemons and not is_there:
                    self.stop_daemons()
                done.wait(0.1)

        thread = threading.Thread(target=tend)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.stop_daemons()

    def stop_daemons(self) -> None:
        for process in self.daemons:
            process.kill()
            process.wait()
        self.daemons.clear()

    def objects(self) -> list[str]:
        """Return the names of all objects of the bucket."""
        return [
            item.name for item in self.sandbox.storage.store.list(BUCKET, max_results=9999).items
        ]

    def put(self, name: str, content: str) -> None:
        self.sandbox.storage.store.insert(BUCKET, name, content.encode())

    def read(self, name: str) -> bytes:
        return self.sandbox.storage.store.get(BUCKET, name).content

    def made(self, kind: str) -> list[str]:
        """Return the names of what is there of a collection, such as `instances`."""
        paths = (path.rsplit("/", 2) for path in self.sandbox.cloud.made())
        return sorted(name for _, collection, name in paths if collection == kind)

    def changes(self) -> list[str]:
        """Return the methods of the calls so far that were meant to change something."""
        calls = [call for call in self.sandbox.cloud.calls() if call["http"] != "GET"]
        return [str(c["method"]) for c in calls if c["method"] and not HARMLESS.search(c["method"])]

    def policy(self) -> list[dict[str, Any]]:
        """Return the bindings of the bucket."""
        found = self.sandbox.storage.store.bucket(BUCKET).policy(BUCKET)["bindings"]
        return list(found)

    def policy_of_project(self) -> list[dict[str, Any]]:
        """Return the bindings in the project that have a condition."""
        access = self.sandbox.cloud.server.core.access
        policy = self.sandbox.cloud.look(lambda: access.policy(access.project_name))
        return [dict(binding) for binding in policy["bindings"] if "condition" in binding]

    def clear(self) -> None:
        """Leave nothing for the next test, however this one has ended."""
        self.stop_daemons()
        if self.sandbox.cloud.made():
            self.gce("down", f"--name={NAME}", "--yes", f"--bucket={BUCKET}")
        access = self.sandbox.cloud.server.core.access
        plain = [
            one for one in access.policy(access.project_name)["bindings"] if "condition" not in one
        ]
        self.sandbox.cloud.look(lambda: access.set_policy(access.project_name, {"bindings": plain}))
        store = self.sandbox.storage.store
        for name in self.objects():
            store.delete(BUCKET, name, None, Conditions())


@contextlib.contextmanager
def cleared(world: World) -> Iterator[World]:
    """Lend the world to one test; what a cluster has left fails it."""
    try:
        yield world
        world.stop_daemons()
        assert world.sandbox.cloud.made() == []
        left = [name for name in world.objects() if name.startswith("mrcore/")]
        assert left == []
        assert world.policy() == []
        assert world.policy_of_project() == []
    finally:
        world.clear()


def told(ran: Ran) -> str:
    """Return all that a command has said, for the message of an assertion."""
    return json.dumps([ran.code, ran.out, ran.err])
