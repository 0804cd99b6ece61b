"""Processes as /proc shows them: who has started whom, and how much memory they use.

A process that is gone, or that cannot be looked at now, counts as nothing: a look never fails.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_BLOCK_BYTES: Final = 1 << 16


def resident_bytes(process_id: int) -> int:
    """Return the resident memory of one process."""
    fields = _read(f"/proc/{process_id}/statm").split()
    return int(fields[1]) * _PAGE_BYTES if fields else 0


def proportional_bytes(process_id: int) -> int:
    """Return the memory of one process, in which a page that n processes share counts 1/n.

    Where the kernel does not show that, return its resident memory.
    """
    for line in _read(f"/proc/{process_id}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) << 10
    return resident_bytes(process_id)


def group_of(process_id: int) -> tuple[int, bool]:
    """Return the group of a process (0: it is gone), and whether it is dead but not collected."""
    fields = _read(f"/proc/{process_id}/stat").rpartition(b")")[2].split()
    return (int(fields[2]), fields[0] in (b"Z", b"X")) if len(fields) > 2 else (0, False)


def started_ticks(process_id: int) -> int:
    """Return when a process was started, in ticks since the start of the system (0: it is gone)."""
    fields = _read(f"/proc/{process_id}/stat").rpartition(b")")[2].split()
    return int(fields[19]) if len(fields) > 19 else 0


def environment_of(process_id: int, name: str) -> str:
    """Return a variable of the environment with which a process has begun; empty if unset."""
    start = f"{name}=".encode()
    for entry in _read(f"/proc/{process_id}/environ").split(b"\0"):
        if entry.startswith(start):
            return os.fsdecode(entry.removeprefix(start))
    return ""


def folder_is_gone(process_id: int | Literal["self"]) -> bool:
    """Return whether the current folder of a process was removed."""
    try:
        return str(Path(f"/proc/{process_id}/cwd").readlink()).endswith(" (deleted)")
    except OSError:
        return False


def children(process_id: int) -> list[int]:
    """Return the processes that this one has started, or that it has adopted."""
    folder = f"/proc/{process_id}/task"
    try:
        threads = os.listdir(folder)  # noqa: PTH208 - see `_read`
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        found += map(int, _read(f"{folder}/{thread}/children").split())
    return found


def descendants(process_id: int) -> list[int]:
    """Return the processes that this one has started, and those that they have, and so on."""
    found: list[int] = []
    unseen = [process_id]
    while unseen:
        started = children(unseen.pop())
        found += started
        unseen += started
    return found


def _read(path: str) -> bytes:
    # By the system's own calls: this is asked for ten times a second.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    blocks: list[bytes] = []
    try:
        while block := os.read(descriptor, _BLOCK_BYTES):
            blocks.append(block)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
    return b"".join(blocks)
