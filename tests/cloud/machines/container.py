"""One VM: a disk that is an overlay on the image, and a container booted from it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.cloud.machines import cgroups

POWER_BUTTON = signal.SIGRTMIN + 4
"""Signal that systemd, as the first process, takes for an order to power off."""
REBOOT = 133
"""Exit status of systemd-nspawn for a VM that asked for a reboot and is not a unit of its own."""
PRESS_SECONDS = 1.0
LOOK_SECONDS = 0.02

# Its cgroups are entered by the process that becomes systemd-nspawn, before it is that.
_ENTER = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"'


class ContainerError(Exception):
    """A disk could not be mounted or a container not be started."""


class Container:
    """A VM's disk and, while it is on, its processes.

    `layers` are the folders of the image, the topmost first; `on_exit` is called in the loop when
    the VM has gone down, with whether that was asked for here.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        layers: Sequence[Path],
        cgroup: str,
        on_exit: Callable[[bool], None],
    ) -> None:
        self.name = name
        self.layers = tuple(layers)
        self.console = folder / "console.log"
        self.upper = folder / "upper"
        self._folder = folder
        self._disk = folder / "disk"
        self._cgroup = cgroup
        self._on_exit = on_exit
        self._is_asked = False
        self._life: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def is_on(self) -> bool:
        return self._life is not None and not self._life.done()

    async def make_disk(self) -> None:
        work = self._folder / "work"
        for path in (self._folder, self.upper, work, self._disk):
            path.mkdir()
            path.chmod(0o755)
        lower = ":".join(map(str, self.layers))
        options = f"lowerdir={lower},upperdir={self.upper},workdir={work}"
        await _run("mount", "-t", "overlay", "overlay", "-o", options, self._disk)

    def write(self, files: Mapping[str, str]) -> None:
        """Write files of the VM, which is off: text by path below its root."""
        for name, text in files.items():
            path = self._disk / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    async def boot(self, namespace: Path) -> None:
        """Power the VM on, in that network namespace."""
        self._is_asked = False
        await self._spawn(namespace)
        self._life = asyncio.get_running_loop().create_task(self._live(namespace))

    async def _spawn(self, namespace: Path) -> None:
        entered = cgroups.make(self._cgroup)
        with self.console.open("ab") as console:
            self._process = await asyncio.create_subprocess_exec(
                *("sh", "-c", _ENTER, "sh", *map(str, entered), "--"),
                *("systemd-nspawn", "--quiet", f"--directory={self._disk}"),
                *("--register=no", "--keep-unit", f"--machine={self.name}"),
                *("--resolv-conf=off", "--timezone=off", "--link-journal=no"),
                *("--console=read-only", f"--network-namespace-path={namespace}"),
                "/usr/sbin/vm-init",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )

    async def _live(self, namespace: Path) -> None:
        """See the VM through its reboots to its end."""
        while True:
            assert self._process
            code = await self._process.wait()
            # The container dies with systemd-nspawn, but not in the same moment.
            # Nothing reports the end of a cgroup of version 1.
            while not cgroups.is_empty(cgroups.make(self._cgroup)):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
            if code != REBOOT or self._is_asked:
                break
            await self._spawn(namespace)
        cgroups.remove(self._cgroup)
        self._on_exit(self._is_asked)

    def _first_process(self) -> int | None:
        """Return the id of the VM's first process, as seen from here."""
        assert self._process
        with contextlib.suppress(OSError):
            pid = self._process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return int(children[-1]) if children else None
        return None

    async def power_off(self, grace_seconds: float) -> None:
        """Press the power button; cut the power if the VM is still on after the grace."""
        self._is_asked = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._press()
        await self.cut_power()

    async def _press(self) -> None:
        # A VM that has hardly begun to boot does not hear it: hence again and again.
        while self._life and not self._life.done():
            first = self._first_process()
            if first is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(first, POWER_BUTTON)
            await asyncio.wait([self._life], timeout=PRESS_SECONDS)

    async def cut_power(self) -> None:
        """End all processes of the VM at once; return when none is left."""
        self._is_asked = True
        if self._life is None:
            return
        while not self._life.done():
            # Not systemd-nspawn alone, which the container outlives.
            cgroups.kill(cgroups.make(self._cgroup))
            await asyncio.wait([self._life], timeout=LOOK_SECONDS)
        await self._life

    async def remove(self) -> None:
        """Throw the disk of a VM away, which is off."""
        await _run("umount", self._disk)
        await asyncio.to_thread(shutil.rmtree, self._folder)

    async def copy_disk(self, target: Path) -> None:
        """Copy what the VM, which is off, has changed, with what it has deleted marked as such."""
        await _run("cp", "--archive", self.upper, target)


async def _run(*argv: object) -> None:
    process = await asyncio.create_subprocess_exec(
        *map(str, argv), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise ContainerError(f"{argv[0]}: {output.decode().strip()}")
