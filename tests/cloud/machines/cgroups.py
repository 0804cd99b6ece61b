"""Cgroups of the VMs: one in each hierarchy that a container can use, below one for the cloud."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

_VERSION_1 = {"name=systemd", "memory", "pids"}
_VERSION_2 = ("memory", "pids", "cpu")


def hierarchies(mountinfo: str) -> list[Path]:
    """Return where the hierarchies lie that matter, out of the text of /proc/self/mountinfo."""
    found = []
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        is_wanted = kind == "cgroup2" or (
            kind == "cgroup" and not _VERSION_1.isdisjoint(options.split(","))
        )
        if is_wanted:
            found.append(Path(fields.split()[4]))
    return found


def here() -> list[Path]:
    return hierarchies(Path("/proc/self/mountinfo").read_text())


def make(name: str) -> list[Path]:
    """Make the cgroup `name`, one or more levels deep, in all hierarchies; return their paths."""
    made = []
    for hierarchy in here():
        path = hierarchy
        for part in Path(name).parts:
            _delegate(path)
            path /= part
            path.mkdir(exist_ok=True)
        made.append(path)
    return made


def _delegate(path: Path) -> None:
    """Let the children of a cgroup of version 2 limit what version 1 does not take care of."""
    with contextlib.suppress(FileNotFoundError):
        there = (path / "cgroup.controllers").read_text().split()
        wanted = " ".join(f"+{name}" for name in _VERSION_2 if name in there)
        (path / "cgroup.subtree_control").write_text(wanted)


def is_empty(paths: Iterable[Path]) -> bool:
    """Return whether no process is left in these cgroups and below."""
    try:
        return not _processes(paths)
    except OSError:  # one has gone while it was looked at: look again
        return False


def kill(paths: Iterable[Path]) -> None:
    """Kill all processes that are in these cgroups and below at this moment."""
    for path in paths:
        for procs in path.rglob("cgroup.procs"):
            # A cgroup, and then a process, may have gone since it was listed.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for process in procs.read_text().split():
                    os.kill(int(process), signal.SIGKILL)


def _processes(paths: Iterable[Path]) -> set[int]:
    lists = [procs.read_text() for path in paths for procs in path.rglob("cgroup.procs")]
    return {int(process) for text in lists for process in text.split()}


def first_process(name: str) -> int | None:
    """Return the id of the systemd that runs a cgroup of that name, as a container's first."""
    for hierarchy in here():
        for path in (hierarchy / name).rglob("init.scope"):
            if processes := _processes([path]):
                return min(processes)
    return None


def remove(name: str) -> None:
    """Remove a cgroup and all below it, which must be empty of processes."""
    for hierarchy in here():
        top = hierarchy / name
        folders = [path for path in top.rglob("*") if path.is_dir()]
        for path in [*sorted(folders, reverse=True), top]:
            with contextlib.suppress(FileNotFoundError):
                path.rmdir()
