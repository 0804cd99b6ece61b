"""Memory and cores that this process may use: the machine's, or what its control groups leave.

A limit may stand in any group on the way to the root (a container's, a systemd unit's, a batch
job's), so the tightest one counts. Version 1 and version 2 of control groups may be mounted at the
same time, each with other controllers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from mrcore.errors import UsageError
from mrcore.util.units import show_size

MEMORY_SHARE: Final = 0.6
"""Part of the memory that all slots may use together."""
MIN_SLOT_BYTES: Final = 128 << 20
"""Python and its libraries alone take most of it: tasks in a smaller slot would only fail."""
_ROOT: Final = Path("/")


def memory_bytes(root: Path = _ROOT) -> int:
    """Return the memory of the machine, or the tightest limit of a control group below it.

    `root` is where `/proc` and `/sys` lie.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder in memory_groups(root):
        # Beyond `high` the kernel slows a group down to a crawl.
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            limits += [limit for limit in _numbers(folder / name) if limit > 0]
    return min(limits)


def memory_groups(root: Path = _ROOT) -> Iterator[Path]:
    """Yield the folders of the groups that may limit this process's memory, its own one first."""
    return _groups(root, "memory")


def cores(root: Path = _ROOT) -> int:
    """Return the cores that this process may use, by its affinity and its groups' quotas.

    A part of a core counts as one: with less, some of the quota could not be used.
    """
    limits = [len(os.sched_getaffinity(0))]
    for folder in _groups(root, "cpu"):
        quota = _numbers(folder / "cpu.max")
        if len(quota) < 2:
            quota = _numbers(folder / "cpu.cfs_quota_us") + _numbers(folder / "cpu.cfs_period_us")
        if len(quota) == 2 and min(quota) > 0:
            limits.append(math.ceil(quota[0] / quota[1]))
    return max(1, min(limits))


def _numbers(path: Path) -> list[int]:
    """Return the numbers in a file; `max` is none, and neither is a file that is not there."""
    try:
        words = path.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []
    return [int(word) for word in words] if all(map(_is_number, words)) else []


def _is_number(word: str) -> bool:
    return word.removeprefix("-").isdigit()


def slot_bytes(slots: int) -> int:
    """Return the share of one of `slots` slots of the memory that this process may use."""
    return int(memory_bytes() * MEMORY_SHARE / slots)


def default_workers(slots: int) -> int:
    """Return how many workers of `slots` slots suit the cores and the memory of this machine."""
    room = int(memory_bytes() * MEMORY_SHARE) // (MIN_SLOT_BYTES * slots)
    return max(1, min(cores(), room))


def check_slots(slots: int, slot_memory_bytes: int) -> None:
    """Raise UsageError if slots would be too small to run anything.

    `slot_memory_bytes` is what was asked for; 0 stands for the share of each slot.
    """
    asked = slot_memory_bytes > 0
    size = slot_memory_bytes if asked else slot_bytes(slots)
    if size < MIN_SLOT_BYTES:
        what = f"--memory is {show_size(size)}" if asked else f"Each slot has {show_size(size)}"
        remedy = "" if asked else " Use fewer slots, or set --memory."
        raise UsageError(
            f"{what}, but a slot needs at least {MIN_SLOT_BYTES >> 20}MiB: Python and its "
            f"libraries alone take most of that.{remedy}"
        )


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's groups that may limit this, up to each mount."""
    own = _own_groups(root)
    for mounted, mount_point, controllers in _mounts(root):
        if controllers and controller not in controllers:
            continue
        path = own.get(controller if controllers else "")
        if path is None:
            continue
        # What is mounted may be a part of the tree, or seen from within a namespace.
        inside = PurePosixPath(path)
        below = inside.relative_to(mounted) if inside.is_relative_to(mounted) else PurePosixPath()
        folder = root / mount_point.lstrip("/")
        if ".." not in below.parts:
            for depth in range(len(below.parts), 0, -1):
                yield folder.joinpath(*below.parts[:depth])
        yield folder


def _own_groups(root: Path) -> dict[str, str]:
    """Return the path of this process's group by controller; that of version 2 has no name."""
    result: dict[str, str] = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        result.update(dict.fromkeys(names.split(","), path))
    return result


def _mounts(root: Path) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield what is mounted where, and the controllers of a mount of version 1."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        where, what = before.split(), after.split()
        if len(where) < 5 or len(what) < 3 or what[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = what[2].split(",") if what[0] == "cgroup" else ()
        yield _unescaped(where[3]), _unescaped(where[4]), frozenset(controllers)


def _unescaped(text: str) -> str:
    """Return a field of `mountinfo`, in which a blank is written as its octal number."""
    return text.replace("\\040", " ").replace("\\134", "\\")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
