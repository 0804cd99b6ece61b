"""Protection of a process's memory: from core dumps, and from other processes of its user."""

from __future__ import annotations

import ctypes
import resource
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def leave_no_core_files() -> None:
    """Have this process, and those that it starts, leave no core file; they may ask for one."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def hide_memory() -> None:
    """Keep other processes of the same user from reading the memory and environment of this one.

    User code runs as the user of its worker. Root may read everything all the same. It lasts until
    this process runs another program, and its forks have it too.
    """
    _set_dumpable(False)


def show_memory() -> None:
    """Undo `hide_memory` in a fork that keeps no secrets, so that its parent can measure it."""
    _set_dumpable(True)


def _set_dumpable(dumpable: bool) -> None:
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_DUMPABLE, int(dumpable), 0, 0, 0)
