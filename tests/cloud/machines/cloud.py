"""The cloud from outside: started in fresh namespaces, entered by commands, gone at the end.

    with Cloud(cache) as cloud:
        cloud.run(["gcloud", "compute", "instances", "list"])

Network, mounts, process ids: all that the cloud makes is in namespaces that end with their first
process, which ends when the one that has started it does. A run that is killed leaves its folder
below the cache and empty cgroups; the next one removes these.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from tests.cloud import lifelines
from tests.cloud.compute.server import PROJECT
from tests.cloud.machines import cgroups, image, site

COMPUTE = f"http://{site.HOST}:{site.COMPUTE_PORT}"
STORAGE = f"http://{site.HOST}:{site.STORAGE_PORT}"
SHELL_SECONDS = 240.0
REPOSITORY = Path(__file__).parents[3]

VM_ENVIRONMENT = {
    "GCE_METADATA_HOST": site.HOST,
    "STORAGE_EMULATOR_HOST": STORAGE,
    "MRCORE_COMPUTE_ENDPOINT": COMPUTE,
}
"""Settings by which daemons on a VM use the servers of this cloud."""


class CloudError(Exception):
    """The cloud could not be started, or a command in it failed; the text is for the user."""


class Cloud:
    """A cloud of containers with all its servers; use it in a `with` block.

    cache: folder for the image, and for the disks of the VMs while they live; on a disk.
    keep: leave the folder of the cloud there, with the serial consoles of its VMs.
    grace_seconds: time between the notice of a preemption and the end.
    installed: disk of a VM that has installed mrcore; it becomes the image `site.INSTALLED`.
    """

    def __init__(
        self,
        cache: Path | None = None,
        *,
        keep: bool = False,
        grace_seconds: float = 30.0,
        installed: Path | None = None,
    ) -> None:
        self.cache = cache or image.default_cache()
        self.folder = Path()
        self._keep = keep
        self._grace_seconds = grace_seconds
        self.installed = installed
        self._stack = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            root = stack.enter_context(image.root(self.cache))
            self.folder = stack.enter_context(_scratch(self.cache, keep=self._keep))
            stack.enter_context(self._running(root))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def _running(self, root: Path) -> Iterator[None]:
        cgroup = self.folder.name
        installed = [] if self.installed is None else [f"--installed={self.installed}"]
        ready, ready_writer = os.pipe()
        self._process = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"),
                *("--mount-proc", sys.executable, "-m", "tests.cloud.machines"),
                *("--root", root, "--folder", self.folder / "vms", "--cgroup", cgroup),
                *("--grace-seconds", str(self._grace_seconds)),
                *("--ready-fd", str(ready_writer)),
                *installed,
            ],
            stdin=subprocess.PIPE,
            pass_fds=[ready_writer],
            cwd=REPOSITORY,
            start_new_session=True,
        )
        os.close(ready_writer)
        try:
            with os.fdopen(ready, "rb") as file:
                is_ready = file.readline() == b"\n"
            if not is_ready:
                raise CloudError("The servers of the cloud did not start; see above.")
            yield
        finally:
            lifelines.end(self._process)
            for path in cgroups.make(cgroup):
                cgroups.kill([path])
            cgroups.remove(cgroup)

    @property
    def first_process(self) -> int:
        """The id, in this namespace, of the cloud's first process."""
        assert self._process
        pid = self._process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    def environment(self, home: Path) -> dict[str, str]:
        """Return what makes gcloud and Google's clients use this cloud and nothing else."""
        overrides = dict.fromkeys(
            ("COMPUTE", "IAM", "CLOUDRESOURCEMANAGER", "SERVICEUSAGE"), f"{COMPUTE}/"
        )
        overrides["STORAGE"] = f"{STORAGE}/"
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "CLOUDSDK_CONFIG": str(home / "gcloud"),
            "CLOUDSDK_AUTH_ACCESS_TOKEN": "fake",
            "CLOUDSDK_CORE_PROJECT": PROJECT,
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
            "GCE_METADATA_ROOT": "127.0.0.1:1",
            "STORAGE_EMULATOR_HOST": STORAGE,
            **{f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}": url for name, url in overrides.items()},
        }

    def popen(
        self,
        argv: Sequence[str | Path],
        environment: Mapping[str, str],
        stdout: int | IO[str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command inside, with no terminal; it ends with the cloud at the latest."""
        return subprocess.Popen(
            self._inside(argv),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT if stdout is not None else None,
            start_new_session=True,
            text=True,
        )

    def started(self, argv: Sequence[str | Path], **options: Any) -> subprocess.Popen[bytes]:
        """Start a command inside with these options of `subprocess.Popen`."""
        return subprocess.Popen(self._inside(argv), **options)

    def _inside(self, argv: Sequence[str | Path]) -> list[str | Path]:
        enter = ["nsenter", f"--target={self.first_process}", "--net", "--mount", "--pid"]
        return [*enter, f"--wdns={REPOSITORY}", "--", *argv]

    def run(
        self, argv: Sequence[str | Path], environment: Mapping[str, str], seconds: float = 300.0
    ) -> str:
        """Run a command inside to its end, and return what it has printed, errors too.

        Raises CloudError where it fails or takes longer than `seconds`.
        """
        process = self.popen(argv, environment, subprocess.PIPE)
        command = " ".join(map(str, argv))
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise CloudError(f"{command}\n{output}\nIt took longer than {seconds:g} s.") from None
        if process.returncode:
            raise CloudError(f"{command}\n{output}\nIt ended with {process.returncode}.")
        return output

    def kill_service(self, vm_id: int, unit: str) -> None:
        """Kill all processes of a systemd unit on a VM."""
        for path in cgroups.make(f"{self.folder.name}/{vm_id}"):
            cgroups.kill(path.rglob(unit))

    def shell(self, vm_id: int, command: str) -> str:
        """Run a command as root on a VM, and return what it prints, whatever its exit code."""
        first = cgroups.first_process(f"{self.folder.name}/{vm_id}")
        if first is None:
            raise CloudError("The VM is off.")
        return subprocess.run(
            ["nsenter", f"--target={first}", "--all", "--root", "--wd", "bash", "-c", command],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_PAGER": "cat"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SHELL_SECONDS,
            check=False,
        ).stdout

    def ask(self, path: str, body: object = None, *, server: str = COMPUTE) -> Any:
        """Ask a server of the cloud for JSON: POST where a body is given, else GET."""
        data = [] if body is None else ["--data", json.dumps(body)]
        header = "Content-Type: application/json"
        url = f"{server}/{path.lstrip('/')}"
        output = self.run(
            ["curl", "-sS", "--fail-with-body", "-H", header, *data, url],
            {
                "PATH": os.environ["PATH"],
            },
        )
        return json.loads(output) if output else None


@contextlib.contextmanager
def _scratch(cache: Path, *, keep: bool) -> Iterator[Path]:
    """Yield a folder of one's own below the cache; remove those of runs that were killed."""
    for old in cache.glob("mrcore-cloud-*"):
        if not Path("/proc", old.name.split("-")[2]).exists():
            shutil.rmtree(old)
            cgroups.remove(old.name)
    folder = Path(tempfile.mkdtemp(prefix=f"mrcore-cloud-{os.getpid()}-", dir=cache))
    folder.chmod(0o755)
    (folder / "vms").mkdir()
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder)
