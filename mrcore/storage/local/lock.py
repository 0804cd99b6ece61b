"""Lock on a file, held until its process ends: it gives a state on files one master.

Object stores need none: there the journal's create-only entries decide.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final, Self

from mrcore.errors import AlreadyExistsError
from mrcore.storage.local.files import file_path
from mrcore.storage.system_errors import os_errors
from mrcore.util.clock import SYSTEM, Clock

_PROBE_SECONDS: Final = 0.2
"""Somebody who only looks whether the lock is free holds it for much less than this."""


class FileLock:
    """An exclusive lock on the file of `uri`; taken when made, freed by `close` or by death.

    Raises AlreadyExistsError when another process, or another lock of this one, holds it.
    """

    def __init__(self, uri: str, clock: Clock = SYSTEM) -> None:
        self._path = file_path(uri)
        with os_errors(self._path):
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._fd: int | None = os.open(self._path, flags, 0o600)
        try:
            self._acquire(self._fd, clock)
        except BaseException:
            self.close()
            raise

    def _acquire(self, fd: int, clock: Clock) -> None:
        deadline = clock.monotonic() + _PROBE_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if clock.monotonic() >= deadline:
                    raise AlreadyExistsError(
                        f"{self._path} is locked by another process that is still alive."
                    ) from error
            clock.sleep(0.01)

    def close(self) -> None:
        """Free the lock; the file stays."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_locked(uri: str) -> bool:
    """Return whether a living process of this machine holds the lock."""
    path = file_path(uri)
    with os_errors(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
    return False
