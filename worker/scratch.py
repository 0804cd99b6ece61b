"""A worker's folder for what lives no longer than it does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from worker.orphans import sweep_marked

_PREFIX = "worker-"


class Scratch:
    """A new folder below `base`, locked by this process."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._lock, draft = self._draft()
        self.path = base / f"{_PREFIX}{os.getpid()}-{draft.name[-8:]}"
        draft.rename(self.path)  # under a name that is swept only once the lock is held

    def restore(self) -> None:
        """Make the folder anew if somebody has removed it; raise OSError if that fails."""
        if self.path.is_dir():
            return
        lock, draft = self._draft()
        try:
            draft.rename(self.path)
        except OSError:
            os.close(lock)
            raise
        os.close(self._lock)
        self._lock = lock

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def _draft(self) -> tuple[int, Path]:
        self._base.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=self._base))
        lock = _lock(draft)
        if lock is None:
            raise OSError(f"the new folder {draft} cannot be locked")
        return lock, draft


@contextlib.contextmanager
def scratch_folder(base: Path | None) -> Iterator[Scratch]:
    """Yield a new folder below `base` (default: the system's temporary folder); remove it after.

    Folders that killed workers have left there are removed first: their locks are free.
    """
    if base is None:
        base = Path(tempfile.gettempdir()) / f"mrcore-{os.getuid()}"
    base = base.absolute()
    sweep(base)
    scratch = Scratch(base)
    try:
        yield scratch
    finally:
        scratch.remove()


def sweep(base: Path) -> None:
    """Remove the folders of workers that are gone, and end what their user code has left."""
    for folder in base.glob(f"{_PREFIX}*"):
        lock = _lock(folder)
        if lock is not None:
            sweep_marked(folder)
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
