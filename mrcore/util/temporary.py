"""Temporary folders that outlive no process for long, however it ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mrcore.util.folder_lock import lock_folder

_PREFIX: Final = "mrcore-temp-"


@contextlib.contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """Yield a new folder among the system's temporary ones; remove it after.

    Folders that killed processes of this user have left there are removed first, whatever they were
    for: each is locked by its process, so their locks are free.
    """
    base = Path(tempfile.gettempdir())
    _sweep(base)
    path = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}{purpose}-", dir=base))
    lock = lock_folder(path)
    try:
        # Without locks it keeps a name that nobody sweeps.
        if lock is not None:
            path = path.rename(base / path.name.removeprefix("."))
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _sweep(base: Path) -> None:
    for folder in base.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid != os.getuid():
                continue
            lock = lock_folder(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
