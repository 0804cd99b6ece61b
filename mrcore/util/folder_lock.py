"""Lock on a folder of this machine, held until the process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def lock_folder(path: str | Path) -> int | None:
    """Lock a folder for as long as this process lives, and return the descriptor that holds it.

    Return None where somebody else has it, or where it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
