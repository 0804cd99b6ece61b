"""Walk through folders of files, in the order of whole paths."""

from __future__ import annotations

import errno
import os
import stat as stat_bits
from collections.abc import Iterator
from dataclasses import dataclass

from mrcore.storage.base import ObjectInfo
from mrcore.storage.local.files import SCHEME, TEMP_PREFIX, info_of
from mrcore.storage.system_errors import os_errors


@dataclass(frozen=True, slots=True)
class Walk:
    """A walk through folders, in the order of whole paths."""

    recursive: bool
    hidden: bool
    start_after: str
    """Path behind which the walk begins; empty for all of it."""

    def below(
        self, folder: str, stem: str, above: tuple[tuple[int, int], ...]
    ) -> Iterator[ObjectInfo]:
        """Yield what lies in `folder` under names that start with `stem`.

        `above` are the folders on the way here, as (device, inode): a link back to one is not
        followed.
        """
        with os_errors(folder):  # not of the folder that was asked for
            try:
                here = os.stat(folder)
                with os.scandir(folder) as entries:
                    names = [e.name for e in entries if self._may_list(folder, e.name, stem)]
            except (FileNotFoundError, NotADirectoryError):
                return
        found: list[tuple[bytes, str, os.stat_result]] = []
        for name in names:
            path = os.path.join(folder, name)
            status = _status(path)
            if status is not None:
                slash = b"/" if stat_bits.S_ISDIR(status.st_mode) else b""
                found.append((os.fsencode(name) + slash, path, status))
        found.sort(key=lambda entry: entry[0])
        identity = (here.st_dev, here.st_ino)
        for _, path, status in found:
            if stat_bits.S_ISREG(status.st_mode):
                if not self.start_after or os.fsencode(path) > os.fsencode(self.start_after):
                    yield info_of(path, status)
            elif stat_bits.S_ISDIR(status.st_mode):
                if not self.recursive:
                    yield ObjectInfo(uri=f"{SCHEME}{path}/", size_bytes=0, generation="")
                elif (status.st_dev, status.st_ino) not in (*above, identity):
                    yield from self.below(path, "", (*above, identity))

    def _may_list(self, folder: str, name: str, stem: str) -> bool:
        """Return whether a name in a folder may be listed, or may hold what is."""
        if not name.startswith(stem) or name.startswith(TEMP_PREFIX if self.hidden else ("_", ".")):
            return False
        if not self.start_after:
            return True
        path, after = os.fsencode(os.path.join(folder, name)), os.fsencode(self.start_after)
        # As a folder it sorts with a slash, and may hold the very name.
        return path > after or path + b"/" > after or after.startswith(path + b"/")


def _status(path: str) -> os.stat_result | None:
    """Return what a name stands for; None for what is gone, and for a link that leads nowhere.

    A link that cannot be followed for another reason may lead to data, so it is an error.
    """
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        with os_errors(path):
            raise
