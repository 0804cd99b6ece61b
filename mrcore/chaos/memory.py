"""Memory of workers that runs short for real: control groups of the kernel, for root.

Each worker is in a group of its own, as in a unit of systemd. A strike limits the group to a little
more than it uses, and a process in it takes what is left (`mrcore.chaos.hog`). So the kernel has to
kill somebody in the group, and picks a process of user code.

    python -P -m mrcore.chaos.memory FOLDER

removes the groups below FOLDER, for a rehearsal that was killed.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from mrcore.chaos.core.memory_files import VERSION_1, VERSION_2, Version, cached_in, kills_in
from mrcore.chaos.janitor import Janitor
from mrcore.errors import MrcoreError
from mrcore.util import host, proc
from mrcore.util.clock import SYSTEM, Clock

ROOM_BYTES: Final = 8 << 20
"""Room of a group beyond what it uses when its memory is to run short."""
_HOG_SECONDS: Final = 10.0
_DEATH_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.02
_REMOVE_TRIES: Final = 100
_PREFIX: Final = "mrcore-chaos-"
_OWN: Final = re.compile(rf"^{_PREFIX}(\d+)$")
_FIRST: Final = "1000"
"""Score of the process that the kernel kills first."""
_HOG: Final = "mrcore.chaos.hog"


class WorkerMemory:
    """The memory groups of the workers of one cluster. Every method may be called by any thread."""

    def __init__(self, folder: Path, version: Version, janitor: Janitor) -> None:
        self.folder = folder
        """Group that has those of the workers."""
        self._version = version
        self._janitor = janitor
        self._lock = threading.Lock()
        self._held: dict[str, int] = {}
        """The process of each worker that is in its group."""

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        """Let the groups be there for the length of the block."""
        command = (sys.executable, "-P", "-m", "mrcore.chaos.memory", str(self.folder))
        with self._janitor.undone_by(*command):
            try:
                yield
            finally:
                remove_groups(self.folder)

    def hold(self, worker: str, process_id: int, others: Iterable[int]) -> None:
        """Put a worker that has started, and the processes that it has, into the worker's group."""
        with self._lock:
            if self._held.get(worker) == process_id:
                return
            group = self.folder / worker
            group.mkdir(exist_ok=True)
            for one in (process_id, *others):
                with contextlib.suppress(ProcessLookupError):
                    _write(group / "cgroup.procs", str(one))
            self._held[worker] = process_id

    def run_short(self, worker: str, favourite: int, clock: Clock = SYSTEM) -> bool:
        """Let the kernel kill a process of a worker for want of memory.

        Return whether it was the favourite, as it will be. Raises MrcoreError where the kernel has
        killed nobody.
        """
        group = self.folder / worker
        with self._lock:
            former = kills_in(_read(group / self._version.events))
            with contextlib.suppress(FileNotFoundError, PermissionError):
                # Idle processes of former jobs may be larger.
                _write(Path(f"/proc/{favourite}/oom_score_adj"), _FIRST)
            try:
                limit_bytes = self._limit(group)
                words = (str(group), self._version.events, str(limit_bytes))
                self._run_hog([sys.executable, "-P", "-m", _HOG, *words])
            finally:
                _write_all(group, self._version.unlimited())
            if kills_in(_read(group / self._version.events)) == former:
                raise MrcoreError("The kernel has killed nobody, though memory was short.")
        end = clock.monotonic() + _DEATH_SECONDS
        while clock.monotonic() < end:
            group_id, is_dead = proc.group_of(favourite)
            if is_dead or not group_id:
                return True
            clock.sleep(_PAUSE_SECONDS)
        return False

    def _limit(self, group: Path) -> int:
        """Limit a group to a little more than it needs, and return the limit."""
        used = int(_read(group / self._version.usage))
        needed = used - cached_in(_read(group / "memory.stat"))
        try:
            _write_all(group, self._version.limited(needed + ROOM_BYTES))
        except OSError:  # the kernel could not write back in time what it has cached
            _write_all(group, self._version.limited(used + ROOM_BYTES))
            return used + ROOM_BYTES
        return needed + ROOM_BYTES

    def _run_hog(self, command: list[str]) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_HOG_SECONDS,
                start_new_session=True,
                check=False,
            )


def make_memory(janitor: Janitor, root: Path = Path("/")) -> WorkerMemory | None:
    """Make the group of a rehearsal; return None where no group can limit memory here.

    It is made below this process's own group, or else below the nearest one above that hands on
    the controller of memory. So limits that stand above go on to hold.
    """
    if os.geteuid() != 0:
        return None
    for above in host.memory_groups(root):
        _sweep(above)
        folder = above / f"{_PREFIX}{os.getpid()}"
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
            version = version_of(folder)
            if version is not None and _hands_on(folder, version):
                return WorkerMemory(folder, version, janitor)
            folder.rmdir()
    return None


def version_of(folder: Path) -> Version | None:
    """Return the version of a group that can limit memory; None for another one."""
    versions = (VERSION_2, VERSION_1)
    return next((one for one in versions if (folder / one.limit).exists()), None)


def remove_groups(folder: Path, clock: Clock = SYSTEM) -> None:
    """Remove a group and those in it; processes that are left go to the group above."""
    for _ in range(_REMOVE_TRIES):
        if not folder.exists():
            return
        for group in (*_groups_in(folder), folder):
            with contextlib.suppress(OSError):
                for one in _read(group / "cgroup.procs").split():
                    with contextlib.suppress(OSError):
                        _write(folder.parent / "cgroup.procs", one)
                group.rmdir()
        clock.sleep(_PAUSE_SECONDS)


def _hands_on(folder: Path, version: Version) -> bool:
    """Let the groups below this one limit memory too; return whether they do."""
    if version is VERSION_2:
        _write(folder / "cgroup.subtree_control", "+memory")
    return True


def _sweep(above: Path) -> None:
    """Remove what rehearsals have left whose processes are dead."""
    with contextlib.suppress(OSError):
        for folder in list(above.iterdir()):
            found = _OWN.match(folder.name)
            if found is not None and not Path(f"/proc/{found[1]}").exists():
                remove_groups(folder)


def _groups_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()]


def _write_all(group: Path, contents: Iterable[tuple[str, str]]) -> None:
    for name, text in contents:
        # Kernels without accounts of swap have no such limit.
        with contextlib.suppress(FileNotFoundError):
            _write(group / name, text)


def _write(path: Path, text: str) -> None:
    # Groups have no files that could be made.
    with path.open("r+", encoding="ascii") as file:
        file.write(text)


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii")


if __name__ == "__main__":
    remove_groups(Path(sys.argv[1]))
