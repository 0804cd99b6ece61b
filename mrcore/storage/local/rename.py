"""Renaming a file to a name that must be free, which Python has no function for."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

_NO_FLAGS: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    found: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return found


def rename_absent(source: str, path: str) -> None:
    """Rename a file; raise FileExistsError where the name is taken and the system can tell."""
    rename = _renameat2()
    if rename is not None:
        names = (os.fsencode(source), os.fsencode(path))
        if not rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE):
            return
        number = ctypes.get_errno()
        if number not in _NO_FLAGS:
            raise OSError(number, os.strerror(number), path)
    Path(source).replace(path)
