"""Parts of a store of files: paths, generations, locked folders and syncs."""

from __future__ import annotations

import errno
import fcntl
import os
import stat as stat_bits
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self, TypeVar

from mrcore.errors import (
    AlreadyExistsError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    StorageError,
    UnavailableError,
)
from mrcore.storage.base import ABSENT, ObjectInfo
from mrcore.storage.local.rename import rename_absent
from mrcore.util.clock import SYSTEM

SCHEME: Final = "file://"
TEMP_PREFIX: Final = ".tmp-"

TRIES: Final = 1000
"""Tries to enter a folder that somebody else may prune."""
LOCK_SECONDS: Final = 10.0
"""Time for which a folder's lock is waited for; whoever changes a name holds it for far less."""
_FIRST_PAUSE_SECONDS: Final = 0.0005
_LONGEST_PAUSE_SECONDS: Final = 0.01
_LOCK_NAME: Final = f"{TEMP_PREFIX}lock"
_NO_FOLDER_LOCKS: Final = frozenset({errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL})

T = TypeVar("T")


def file_path(uri: str) -> str:
    """Return the path that a `file://` URI stands for; nothing is decoded."""
    path = uri.removeprefix(SCHEME)
    if not uri.startswith(SCHEME) or not path.startswith("/") or "\0" in path:
        raise StorageError(f"{uri!r} does not name a file. Write file:// and an absolute path.")
    return path


def generation_of(status: os.stat_result) -> str:
    """Return what tells this version of a file from any other."""
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"


def info_of(path: str, status: os.stat_result, crc32c: int | None = None) -> ObjectInfo:
    """Return what is known of a file."""
    return ObjectInfo(
        uri=SCHEME + path,
        size_bytes=status.st_size,
        generation=generation_of(status),
        crc32c=crc32c,
        modified_seconds=status.st_mtime,
    )


def regular(path: str, status: os.stat_result) -> os.stat_result:
    """Return `status` if it is that of a file that can be read at any place."""
    if stat_bits.S_ISDIR(status.st_mode):
        raise NotFoundError(f"{path} is a folder, not a file.")
    if not stat_bits.S_ISREG(status.st_mode):
        raise NotFoundError(f"{path} is not a regular file. Copy its content to one first.")
    return status


def look(path: str) -> os.stat_result | None:
    """Return the state of a file that is to be changed, None where there is none."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat_bits.S_ISREG(status.st_mode):
        raise StorageError(f"{path} is a folder or a device. Choose another name.")
    return status


def _taken(path: str) -> AlreadyExistsError:
    return AlreadyExistsError(f"{path} exists already.")


def check_expected(path: str, expect: str | None, current: os.stat_result | None) -> None:
    """Raise unless the file in its current state is what the caller expects."""
    if expect is None:
        return
    if expect == ABSENT:
        if current is not None:
            raise _taken(path)
    elif current is None or generation_of(current) != expect:
        raise PreconditionFailedError(f"{path} was changed by somebody else.")


def _lock(fd: int, folder: str, wait_seconds: float) -> None:
    """Lock an open folder, or a file in it, once others have let go of it.

    Whoever may read a folder can hold its lock, for ever if they like (`flock OUT command`), so it
    is not waited for without an end. Raises UnavailableError after `wait_seconds`.
    """
    deadline: float | None = None
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            now = SYSTEM.monotonic()
            deadline = now + wait_seconds if deadline is None else deadline
            if now >= deadline:
                raise UnavailableError(
                    f"Another program has held a lock on the folder {folder} for "
                    f"{wait_seconds:g} s. End it (`fuser {folder}` names it)."
                ) from error
        SYSTEM.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _lock_by_file(folder: str, wait_seconds: float) -> int:
    """Lock a hidden file in the folder, and return it: NFS locks files only."""
    path = f"{folder}/{_LOCK_NAME}"
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _lock(fd, folder, wait_seconds)
            # Whoever held it has removed it, and somebody else may have made another.
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def make_folder(path: str) -> None:
    """Make a folder that was not there; raise FileNotFoundError if it is pruned just now."""
    try:
        os.makedirs(path, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        if isinstance(error, FileExistsError) and (
            not os.path.lexists(path) or os.path.isdir(path)
        ):
            raise FileNotFoundError(path) from error  # not a file
        raise StorageError(
            f"{path} cannot be a folder: it, or something above it, is a file."
        ) from error


def make_lasting_folder(path: str) -> None:
    """Make a folder unless it is there, and each new name on the way to it durable."""
    missing: list[str] = []
    folder = path
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    if missing:
        with suppress(FileNotFoundError):  # pruned just now: whoever writes there makes it again
            make_folder(path)
            for folder in reversed(missing):
                sync(os.path.dirname(folder))


class LockedFolder:
    """A folder whose names nobody else changes; `fd` is open on it."""

    def __init__(self, path: str, *, create: bool, wait_seconds: float | None = None) -> None:
        self.path = path
        wait_seconds = LOCK_SECONDS if wait_seconds is None else wait_seconds
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            if not create:
                raise
            make_folder(path)
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._lock_fd: int | None = None
        try:
            _lock(self.fd, path, wait_seconds)
        except UnavailableError:
            os.close(self.fd)
            raise
        except OSError as error:
            try:
                if error.errno not in _NO_FOLDER_LOCKS:
                    raise
                self._lock_fd = _lock_by_file(path, wait_seconds)
            except BaseException:
                os.close(self.fd)
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock_fd is not None:
            with suppress(OSError):
                os.unlink(f"{self.path}/{_LOCK_NAME}")  # who waits for it will notice
            os.close(self._lock_fd)
        else:
            # A forked copy of this process may keep the descriptor open, and gevent closes it late.
            fcntl.flock(self.fd, fcntl.LOCK_UN)
        os.close(self.fd)

    def temp_path(self) -> str:
        """Return a new name that no listing shows."""
        return f"{self.path}/{TEMP_PREFIX}{os.urandom(8).hex()}"

    def put(self, link: Callable[[str], None], path: str, *, replace: bool) -> None:
        """Put what `link(path)` links at `path`, in place of what is there now.

        Without `replace` a name that is taken raises AlreadyExistsError. The file system sees to
        that: between machines whose locks do not work, nothing else keeps two creators apart.
        """
        try:
            link(path)
        except FileExistsError as error:
            if not replace:
                raise _taken(path) from error
            temp = self.temp_path()
            link(temp)
            try:
                os.replace(temp, path)
            except BaseException:
                os.unlink(temp)
                raise

    def move(self, source: str, path: str, *, replace: bool) -> None:
        """Rename a file of this file system; without `replace` as `put`, as far as it can."""
        if replace:
            os.replace(source, path)
            return
        try:
            os.link(source, path)
        except FileExistsError as error:
            # NFS may lose the reply to a link that was made, and try it again.
            if not os.path.samefile(source, path):
                raise _taken(path) from error
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            try:
                rename_absent(source, path)
            except FileExistsError as taken:
                raise _taken(path) from taken
            return
        os.unlink(source)


NO_LINKS: Final = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
)
"""Error numbers of a file system without hard links."""


def in_folder(path: str, change: Callable[[LockedFolder], T]) -> T:
    """Make the folder of `path`, lock it and call `change`.

    Tries again when somebody prunes the folder between the making and the locking.
    """
    for _ in range(TRIES):
        try:
            with LockedFolder(os.path.dirname(path), create=True) as folder:
                return change(folder)
        except FileNotFoundError:
            continue
    if not os.path.isdir(os.path.dirname(path)):  # /proc, say, has no such folder and never will
        raise PermissionDeniedError(
            f"The folder {os.path.dirname(path)} cannot be made there. Choose another place."
        )
    raise UnavailableError(f"{os.path.dirname(path)} is removed again and again.")


class _Syncs:
    """The syncs of one folder while somebody waits for one."""

    def __init__(self) -> None:
        self.users = 0
        self.asked = 0
        self.done = 0
        """Number of callers, in the order of asking, that are served."""
        self.busy = False


class FolderSync:
    """Makes the names of folders durable for many threads at once.

    One thread syncs a folder for all that asked before it began; who asks later waits for the next
    sync. So thousands of publications cost a few syncs, not one each.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._folders: dict[str, _Syncs] = {}
        """Only folders that somebody waits for."""

    def __call__(self, path: str) -> None:
        """Return once what the folder held when this was called is durable."""
        with self._changed:
            folder = self._folders.setdefault(path, _Syncs())
            folder.users += 1
            folder.asked += 1
            ticket = folder.asked
        try:
            while not self._served(folder, ticket):
                covered = folder.asked
                try:
                    sync(path)
                    folder.done = covered
                finally:
                    with self._changed:
                        folder.busy = False
                        self._changed.notify_all()
        finally:
            with self._changed:
                folder.users -= 1
                if not folder.users:
                    del self._folders[path]

    def _served(self, folder: _Syncs, ticket: int) -> bool:
        """Wait for one's turn; return False when it is on the caller to sync."""
        with self._changed:
            while folder.busy and folder.done < ticket:
                self._changed.wait()
            if folder.done >= ticket:
                return True
            folder.busy = True
            return False


def sync(path: str) -> None:
    """Make the content of a file, or the names of a folder, durable, if it is there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
