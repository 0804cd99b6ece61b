"""A worker's folder for what lives no longer than it does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "worker-"


@contextlib.contextmanager
def scratch_folder(base: Path | None) -> Iterator[Path]:
    """Yield a new folder below `base` (default: the system's temporary folder); remove it after.

    Folders that killed workers have left there are removed first: their locks are free.
    """
    if base is None:
        base = Path(tempfile.gettempdir()) / f"mrcore-{os.getuid()}"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    sweep(base)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=base))
    lock = _lock(draft)
    assert lock is not None
    folder = base / f"{_PREFIX}{os.getpid()}-{draft.name[-8:]}"
    draft.rename(folder)  # under a name that is swept only once the lock is held
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep(base: Path) -> None:
    """Remove the folders of workers that are gone."""
    for folder in base.glob(f"{_PREFIX}*"):
        lock = _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder for as long as this process lives; return None when somebody else has."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
