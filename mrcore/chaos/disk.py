"""A scratch disk of the workers that can be full: a file system in memory, for root."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mrcore.chaos.janitor import Janitor
from mrcore.errors import MrcoreError

_BLOCK_BYTES: Final = 1 << 16
_TRIES: Final = 10
_OWN: Final = re.compile(r"^mrcore-chaos-(\d+) (\S+) ", re.MULTILINE)


class ScratchDisk:
    """A file system at the scratch folder of a cluster."""

    def __init__(self, folder: Path, janitor: Janitor) -> None:
        self._folder = folder
        self._janitor = janitor

    @contextlib.contextmanager
    def mounted(self) -> Iterator[None]:
        """Mount it for the length of the block; it takes memory only as it is filled."""
        sweep_disks()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        name = f"mrcore-chaos-{os.getpid()}"
        with self._janitor.undone_by("umount", "-l", str(self._folder)):
            _run("mount", "-t", "tmpfs", "-o", "mode=700", name, str(self._folder))
            try:
                yield
            finally:
                _run("umount", "-l", str(self._folder))

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Leave no room on it for the length of the block."""
        size = os.statvfs(self._folder)
        former = f"remount,size={size.f_blocks * size.f_frsize}"
        with self._janitor.undone_by("mount", "-o", former, str(self._folder)):
            self._shrink()
            try:
                yield
            finally:
                _run("mount", "-o", former, str(self._folder))

    def _shrink(self) -> None:
        for attempt in range(1, _TRIES + 1):
            now = os.statvfs(self._folder)
            used = (now.f_blocks - now.f_bfree) * now.f_frsize
            # What is written at this moment makes it too small: then with more room.
            size = used + _BLOCK_BYTES * attempt
            with contextlib.suppress(MrcoreError):
                _run("mount", "-o", f"remount,size={size}", str(self._folder))
                return
        raise MrcoreError(f"{self._folder} could not be made smaller.")


def can_mount() -> bool:
    """Return whether this process may mount file systems."""
    return os.geteuid() == 0


def sweep_disks() -> None:
    """Unmount what rehearsals have left whose processes are dead."""
    for owner, folder in _OWN.findall(Path("/proc/mounts").read_text()):
        if not Path(f"/proc/{owner}").exists():
            with contextlib.suppress(MrcoreError):
                _run("umount", "-l", folder)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MrcoreError(f"`{' '.join(words)}` failed: {done.stderr.strip()}")
