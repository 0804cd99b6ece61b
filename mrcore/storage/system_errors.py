"""Conversion of the operating system's errors into those of mrcore."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from mrcore.errors import (
    AlreadyExistsError,
    DiskFullError,
    NotFoundError,
    PermissionDeniedError,
    StorageError,
    UnavailableError,
)


@contextmanager
def os_errors(path: str) -> Iterator[None]:
    """Turn each OSError about `path` into a StorageError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        match error.errno:
            case errno.ENOENT:
                raise NotFoundError(f"{path} does not exist.") from error
            case errno.ENOTDIR:
                raise NotFoundError(
                    f"{path} does not exist: something above it is a file, not a folder."
                ) from error
            case errno.EISDIR:
                raise NotFoundError(f"{path} is a folder, not a file.") from error
            case errno.EEXIST:
                raise AlreadyExistsError(f"{path} exists already.") from error
            case errno.EACCES | errno.EPERM | errno.EROFS:
                raise PermissionDeniedError(
                    f"{path} cannot be used ({reason.lower()}). "
                    "Check the permissions of the file and its folder."
                ) from error
            case errno.ENOSPC | errno.EDQUOT:
                raise DiskFullError(
                    f"No space is left for {path} ({reason.lower()}). "
                    "Free some, or choose another folder."
                ) from error
            case errno.EIO | errno.ESTALE | errno.EMFILE | errno.ENFILE:
                raise UnavailableError(f"{path} cannot be used now ({reason.lower()}).") from error
            case _:
                raise StorageError(f"{path} cannot be used ({reason.lower()}).") from error
