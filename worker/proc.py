"""Processes as /proc shows them: who has started whom, and how much memory they use.

A process that is gone, or that cannot be looked at now, counts as nothing: a look never fails.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(process_id: int) -> int:
    """Return the resident memory of one process."""
    fields = _read(f"/proc/{process_id}/statm").split()
    return int(fields[1]) * _PAGE_BYTES if fields else 0


def children(process_id: int) -> list[int]:
    """Return the processes that this one has started, or that it has adopted."""
    try:
        threads = list(Path(f"/proc/{process_id}/task").iterdir())
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        found += map(int, _read(f"{thread}/children").split())
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
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
