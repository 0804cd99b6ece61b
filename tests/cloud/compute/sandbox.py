"""The real gcloud against clouds of ours, in a network namespace that leads nowhere.

Without root there is no namespace, and loopback of this machine serves; then the overrides alone
keep gcloud from the real cloud.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.cloud import loaded
from tests.cloud.compute.server import PROJECT
from tests.cloud.compute.threaded import ThreadedCloud, running
from tests.gcsserver import GcsServer

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
COMMAND_SECONDS = 240.0

HAS_GCLOUD = shutil.which("gcloud") is not None
NO_GCLOUD = "gcloud is not installed: see https://cloud.google.com/sdk/docs/install."


class Namespace:
    """A thread in a network namespace of its own, where only loopback is.

    What the thread opens stays in there, whoever uses it later; the namespace ends with it.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, initializer=_leave_the_network)

    def call(self, function: Callable[[], T]) -> T:
        """Return what a function returns that is called inside."""
        return self._thread.submit(function).result()

    def started(self, *words: Any, **options: Any) -> subprocess.Popen[bytes]:
        """Start a process inside, as `subprocess.Popen` does."""
        return self.call(lambda: subprocess.Popen(*words, **options))

    def close(self) -> None:
        self._thread.shutdown()


def _leave_the_network() -> None:
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"no network namespace can be made: {os.strerror(number)}")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def _gcloud(home: Path) -> dict[str, str]:
    """Return the settings of gcloud that do not depend on the servers."""
    return {
        "HOME": str(home),
        "CLOUDSDK_CONFIG": str(home / "gcloud"),
        "CLOUDSDK_AUTH_ACCESS_TOKEN": "fake",
        "CLOUDSDK_CORE_PROJECT": PROJECT,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        "GCE_METADATA_ROOT": "127.0.0.1:1",
    }


@dataclass(frozen=True, slots=True)
class Ran:
    """Outcome of a command."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return the output of `--format=json`."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A cloud and a store in a namespace, and commands beside them."""

    namespace: Namespace
    cloud: ThreadedCloud
    storage: GcsServer
    home: Path
    loaded: dict[str, str] = field(default_factory=dict)
    """Variables that make calls of gcloud quick; see tests.cloud.loaded."""

    def environment(self) -> dict[str, str]:
        """Return what makes gcloud and Google's clients use these servers and nothing else."""
        cloud = f"{self.cloud.url}/"
        overrides = {
            "COMPUTE": cloud,
            "IAM": cloud,
            "CLOUDRESOURCEMANAGER": cloud,
            "SERVICEUSAGE": cloud,
            "STORAGE": f"{self.storage.url}/",
        }
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            **_gcloud(self.home),
            "STORAGE_EMULATOR_HOST": self.storage.url,
            **{f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}": url for name, url in overrides.items()},
            **self.loaded,
        }

    def run(self, command: Sequence[str | Path], extra: Mapping[str, str] | None = None) -> Ran:
        """Run a command inside, to its end."""
        environment = self.environment() | dict(extra or {})

        def inside() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [str(word) for word in command],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )

        done = self.namespace.call(inside)
        return Ran(done.returncode, done.stdout, done.stderr)

    def gcloud(self, *words: str) -> Ran:
        """Run `gcloud WORDS`."""
        return self.run(["gcloud", *words])


@dataclass(frozen=True, slots=True)
class Ground:
    """Namespace that sandboxes share, with a gcloud that is loaded there."""

    namespace: Namespace
    home: Path
    loaded: dict[str, str]


@contextlib.contextmanager
def ground(home: Path) -> Iterator[Ground]:
    """Make a namespace, and load gcloud there: that takes five seconds of CPU time."""
    namespace = Namespace()
    with contextlib.closing(namespace), contextlib.ExitStack() as stack:
        variables = {}
        if HAS_GCLOUD:
            environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **_gcloud(home)}
            variables = stack.enter_context(loaded.gcloud(environment, namespace.started))
        yield Ground(namespace, home, variables)


@contextlib.contextmanager
def sandbox(ground: Ground, **options: Any) -> Iterator[Sandbox]:
    """Make a cloud and a store on a ground; the options are those of ComputeServer."""
    namespace = ground.namespace
    listener = namespace.call(lambda: socket.create_server(("127.0.0.1", 0)))
    storage = namespace.call(GcsServer)
    with storage, running(listener, **options) as cloud:
        yield Sandbox(namespace, cloud, storage, ground.home, ground.loaded)
