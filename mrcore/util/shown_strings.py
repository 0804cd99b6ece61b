"""Arguments and environment of this process as /proc shows them.

The kernel reads both from the memory of the process, where the program was given them. A process
that was forked shows those of its parent until it writes its own in their place.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_ARGUMENTS_AT: Final = 48 - 3
_ENVIRONMENT_AT: Final = 50 - 3
"""Fields of /proc/self/stat with the first address, counted from the one behind the name."""


def show_arguments(arguments: Sequence[str]) -> None:
    """Show these arguments as far as the space of the former ones reaches."""
    start, size = _region(_ARGUMENTS_AT)
    text = b"\0".join(map(os.fsencode, arguments))[: max(0, size - 1)]
    if size:
        ctypes.memmove(start, text.ljust(size, b"\0"), size)


def show_variable(name: str, value: str) -> bool:
    """Show another value of a variable; return False if it is not there, or has less room."""
    start, size = _region(_ENVIRONMENT_AT)
    shown = b"\0" + ctypes.string_at(start, size) if size else b""
    at = shown.find(os.fsencode(f"\0{name}="))
    if at < 0:
        return False
    # A shorter value before has left zeros behind.
    end = shown.find(b"\0", at + 1)
    while shown[end : end + 2] == b"\0\0":
        end += 1
    entry = os.fsencode(f"{name}={value}")
    if len(entry) > end - at - 1:
        return False
    ctypes.memmove(start + at, entry.ljust(end - at - 1, b"\0"), end - at - 1)
    return True


def _region(field: int) -> tuple[int, int]:
    """Return the address and the size of a region; a size of 0 where the kernel hides it."""
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    if len(fields) <= field + 1:
        return 0, 0
    start, end = int(fields[field]), int(fields[field + 1])
    return (start, end - start) if 0 < start < end else (0, 0)
