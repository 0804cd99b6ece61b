"""Objects as plain files: `file:///data/x` is the file `/data/x`, byte for byte.

An object's generation is its inode, time of change and size. Every change of a name is made while
the *folder* is flocked, so that a generation can be compared and the name changed in one step, and
no lock file is left behind. New content is written to a file without a name (Linux) that is linked
into place, so that a process killed while it writes leaves nothing; elsewhere it is written under a
name that begins with `.tmp-`, which no listing shows.

Files keep no metadata. Publishing makes a hard link, so that the publication has the generation of
its source; where links are not supported the source is renamed, with the same effect.
"""

from __future__ import annotations

import errno
import io
import os
import stat as stat_bits
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import BinaryIO, Final

from mrcore.errors import AlreadyExistsError, NotFoundError, PreconditionFailedError
from mrcore.storage.base import ABSENT, ObjectInfo, Writer
from mrcore.storage.local.files import (
    NO_LINKS,
    TRIES,
    LockedFolder,
    check_expected,
    file_path,
    generation_of,
    in_folder,
    info_of,
    look,
    make_folder,
    make_lasting_folder,
    regular,
    sync,
)
from mrcore.storage.local.places import LocalPlaces, sync_folder
from mrcore.storage.local.walk import Walk
from mrcore.storage.streams import RangeStream, Unfinished
from mrcore.storage.system_errors import os_errors
from mrcore.util.clock import SYSTEM
from mrcore.util.crc32c import extend_crc32c

_READ_BUFFER_BYTES: Final = 1 << 20
_WRITE_BUFFER_BYTES: Final = 1 << 18
_DELETED_AT_ONCE: Final = 64
"""Files that are deleted under one lock of their folder, for which others may wait."""
_NO_NAMELESS_FILES: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS})
_HAS_PROC: Final = os.path.isdir("/proc/self/fd")


class _LocalWriter(Unfinished[int]):
    """Content on its way to a name; see `mrcore.storage.base.Writer`."""

    def __init__(self, path: str, expect: str | None, durable: bool, private: bool) -> None:
        self._path = path
        self._expect = expect
        self._durable = durable
        self._mode = 0o600 if private else 0o666
        self._temp: str | None = None
        self._file: BinaryIO | None = None
        """Buffer of the open file, from the first write on: an empty object needs none."""
        self._crc = 0
        with os_errors(path):
            if durable:
                make_lasting_folder(os.path.dirname(path))
            fd = _open_nameless(os.path.dirname(path), self._mode)
            if fd is None:
                fd = in_folder(path, self._open_named)
        super().__init__(fd)

    def _open_named(self, folder: LockedFolder) -> int:
        temp = folder.temp_path()
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._mode)
        self._temp = temp
        return fd

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        fd = self.content
        self._crc = extend_crc32c(self._crc, data)
        with os_errors(self._path):
            if self._file is None:
                self._file = os.fdopen(fd, "wb", buffering=_WRITE_BUFFER_BYTES)
            return self._file.write(data)

    def commit(self) -> ObjectInfo:
        fd = self.content
        with os_errors(self._path):
            if self._file is not None:
                self._file.flush()
            # The kernel's stamps are ticks of some ms; two versions must never look alike.
            stamp = int(SYSTEM.wall() * 1e6) * 1000 + int.from_bytes(os.urandom(2)) % 1000
            os.utime(fd, ns=(stamp, stamp))
            if self._durable:
                os.fsync(fd)
            if not self._is_placed_unlocked(fd):
                try:
                    in_folder(self._path, self._place)
                except (AlreadyExistsError, PreconditionFailedError):
                    self._sync_names()  # the caller will believe what it finds: it has to last
                    raise
            self._sync_names()
            info = info_of(self._path, os.fstat(fd), self._crc)
        self.end()
        return info

    def _sync_names(self) -> None:
        if self._durable:
            sync_folder(os.path.dirname(self._path))

    def _is_placed_unlocked(self, fd: int) -> bool:
        """Link a file that may only be new, without the lock; return False where that fails.

        A holder of the lock changes only what has the name already, and a link takes no such
        name. So the lock would decide nothing. It costs more than the link.
        """
        if self._temp is not None or self._expect != ABSENT:
            return False
        try:
            _link_open(fd, self._path)
        except OSError:
            return False  # the folder was pruned, or the name is taken: the lock shows which
        return True

    def _place(self, folder: LockedFolder) -> None:
        check_expected(self._path, self._expect, look(self._path))
        replace = self._expect != ABSENT
        if self._temp is None:
            fd = self.content
            folder.put(lambda name: _link_open(fd, name), self._path, replace=replace)
        else:
            folder.move(self._temp, self._path, replace=replace)
            self._temp = None

    def let_go(self, content: int) -> None:
        with suppress(OSError):  # a full disk refuses what is still buffered: nobody wants it
            if self._file is None:
                os.close(content)
            else:
                self._file.close()
        if self._temp is not None:
            with suppress(OSError):
                os.unlink(self._temp)


def _link_open(fd: int, path: str) -> None:
    """Link an open file without a name at an absolute path; raise FileExistsError if taken."""
    # `dst_dir_fd` makes Python call linkat(), which alone follows the link in /proc.
    os.link(f"/proc/self/fd/{fd}", path, dst_dir_fd=fd, follow_symlinks=True)


def _open_nameless(folder: str, mode: int) -> int | None:
    """Open a new file in a folder, made if need be, without a lock; None where it needs a name."""
    nameless: int = getattr(os, "O_TMPFILE", 0)
    for _ in range(TRIES if nameless and _HAS_PROC else 0):
        try:
            return os.open(folder, nameless | os.O_WRONLY | os.O_CLOEXEC, mode)
        except (FileNotFoundError, NotADirectoryError):
            with suppress(FileNotFoundError):
                make_folder(folder)
        except OSError as error:
            if error.errno in _NO_NAMELESS_FILES:
                return None
            if error.errno != errno.EPERM:  # ext4 refuses so a folder that was pruned just now
                raise
    return None


class _FileRange:
    """The bytes of an open file from `start` on."""

    def __init__(self, path: str, fd: int, start: int) -> None:
        self._path = path
        self._fd = fd
        self._start = start

    def read_range(self, start: int, end: int) -> bytes:
        with os_errors(self._path):
            return _pread(self._fd, self._start + start, self._start + end)

    def close(self) -> None:
        os.close(self._fd)


def _pread(fd: int, start: int, end: int) -> bytes:
    """Return [start, end) of a file; one system call may give less than is asked for."""
    data = os.pread(fd, end - start, start)
    if len(data) == end - start or not data:
        return data
    blocks = [data]
    position = start + len(data)
    while position < end and (data := os.pread(fd, end - position, position)):
        blocks.append(data)
        position += len(data)
    return b"".join(blocks)


class LocalStorage(LocalPlaces):
    """The store of `file://` URIs; see `mrcore.storage.base.Storage`."""

    def stat(self, uri: str) -> ObjectInfo:
        """Return what is known of the file."""
        path = file_path(uri)
        with os_errors(path):
            return info_of(path, regular(path, os.stat(path)))

    def _open(self, path: str, generation: str | None) -> tuple[int, int]:
        """Return a file descriptor and the size."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = regular(path, os.fstat(fd))
            if generation is not None and generation_of(status) != generation:
                raise NotFoundError(f"{path} has changed since it was first looked at.")
        except BaseException:
            os.close(fd)
            raise
        return fd, status.st_size

    def read(
        self, uri: str, start: int = 0, end: int | None = None, *, generation: str | None = None
    ) -> bytes:
        """Return the bytes [start, end) of the file."""
        path = file_path(uri)
        with os_errors(path):
            fd, size = self._open(path, generation)
            try:
                stop = size if end is None else min(end, size)
                return _pread(fd, start, stop) if start < stop else b""
            finally:
                os.close(fd)

    def open_read(
        self, uri: str, start: int = 0, end: int | None = None, *, generation: str | None = None
    ) -> BinaryIO:
        """Return a buffered, seekable stream over [start, end) of the file."""
        path = file_path(uri)
        with os_errors(path):
            fd, size = self._open(path, generation)
        stop = size if end is None else min(end, size)
        stream = RangeStream(_FileRange(path, fd, start), max(0, stop - start))
        return io.BufferedReader(stream, _READ_BUFFER_BYTES)

    def open_write(
        self,
        uri: str,
        *,
        expect: str | None = None,
        metadata: Mapping[str, str] | None = None,
        durable: bool = False,
        private: bool = False,
    ) -> Writer:
        """Start a new file; `metadata` is not kept."""
        return _LocalWriter(file_path(uri), expect, durable, private)

    def list(
        self, prefix: str, *, recursive: bool = True, hidden: bool = True, start_after: str = ""
    ) -> Iterator[ObjectInfo]:
        """Yield the files below the prefix; a folder is shown even when it is empty."""
        path = file_path(prefix)
        folder, _, stem = path.rpartition("/")
        with os_errors(path):
            walk = Walk(recursive, hidden, file_path(start_after) if start_after else "")
            yield from walk.below(folder or "/", stem, ())

    def delete(self, uri: str, *, generation: str | None = None) -> bool:
        """Unlink the file; its folder stays, see `prune`."""
        path = file_path(uri)
        with os_errors(path):
            try:
                with LockedFolder(os.path.dirname(path), create=False):
                    current = look(path)
                    if current is None or generation not in (None, generation_of(current)):
                        return False
                    os.unlink(path)
                    return True
            except (FileNotFoundError, NotADirectoryError):
                return False

    def delete_all(self, objects: Iterable[ObjectInfo]) -> None:
        """Unlink files, several of a folder at a time under its lock."""
        by_folder: dict[str, list[tuple[str, str]]] = {}
        for info in objects:
            path = file_path(info.uri)
            by_folder.setdefault(os.path.dirname(path), []).append((path, info.generation))
        for folder, files in by_folder.items():
            for start in range(0, len(files), _DELETED_AT_ONCE):
                with os_errors(folder), suppress(FileNotFoundError, NotADirectoryError):
                    _unlink_all(folder, files[start : start + _DELETED_AT_ONCE])

    def publish(
        self,
        source: ObjectInfo,
        destination: str,
        *,
        expect: str | None = None,
        metadata: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> ObjectInfo:
        """Hard-link the source to its destination; `metadata` is not kept.

        Content is always synced, the folder if `durable`. Both syncs are done without the lock of
        the folder, so that many publishers share them.
        """
        path = file_path(destination)
        with os_errors(path):
            make_lasting_folder(os.path.dirname(path))  # a source may be renamed into it
            if source.size_bytes:  # of an empty file there is but the name
                sync(file_path(source.uri))
            published = _publish_new(source, path) if expect == ABSENT else None
            if published is None:
                published = in_folder(path, lambda folder: _publish(folder, source, path, expect))
            if durable:
                sync_folder(os.path.dirname(path))  # a former publisher may have died before it
            return published


def _unlink_all(folder: str, files: Sequence[tuple[str, str]]) -> None:
    """Unlink the files of a folder that have these generations."""
    with LockedFolder(folder, create=False):
        for path, generation in files:
            current = look(path)
            if current is not None and generation_of(current) == generation:
                with suppress(FileNotFoundError):  # programs of others take no lock
                    os.unlink(path)


def _publish_new(source: ObjectInfo, path: str) -> ObjectInfo | None:
    """Publish under a name that may only be new, without the lock; return None where that fails.

    The lock would decide nothing, as with a writer of a new file (`_is_placed_unlocked`). And many
    threads that publish to one folder would mostly wait for it.
    """
    source_path = file_path(source.uri)
    if os.path.dirname(source_path) == os.path.dirname(path):
        return None  # the lock keeps the source as it is
    try:
        status = os.stat(source_path)
        if not stat_bits.S_ISREG(status.st_mode) or generation_of(status) != source.generation:
            return None
        os.link(source_path, path)
    except OSError:
        return None  # with the lock there is a result, or a reason
    return info_of(path, status, source.crc32c)


def _publish(folder: LockedFolder, source: ObjectInfo, path: str, expect: str | None) -> ObjectInfo:
    current = look(path)
    if current is not None and generation_of(current) == source.generation:
        return info_of(path, current, source.crc32c)
    source_path = file_path(source.uri)
    status = look(source_path)
    if status is None or generation_of(status) != source.generation:
        raise NotFoundError(f"{source_path} is gone, or has changed, before it was published.")
    check_expected(path, expect, current)
    replace = expect != ABSENT
    try:
        folder.put(lambda name: os.link(source_path, name), path, replace=replace)
    except AlreadyExistsError:
        found = look(path)
        if found is None or generation_of(found) != source.generation:
            raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        folder.move(source_path, path, replace=replace)
    return info_of(path, status, source.crc32c)
