"""Names and folders of files; see `mrcore.storage.places.Places`."""

from __future__ import annotations

import contextlib
import os
import stat as stat_bits
import tempfile
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Final

from mrcore.errors import PermissionDeniedError, StorageError, UnavailableError
from mrcore.storage.local.files import (
    SCHEME,
    TEMP_PREFIX,
    FolderSync,
    LockedFolder,
    file_path,
    make_folder,
    make_lasting_folder,
    sync,
)
from mrcore.storage.local.lock import FileLock, is_locked
from mrcore.storage.places import Lock, NameKind, Reach
from mrcore.storage.system_errors import os_errors

sync_folder: Final = FolderSync()
_PROBE_SECONDS: Final = 2.0
"""Time to wait for a folder's lock; a job that commits to the folder holds it for far less."""


class LocalPlaces:
    """Names, folders and locks of a store of files."""

    @property
    def reach(self) -> Reach:
        """Return MACHINE."""
        return Reach.MACHINE

    def shown(self, uri: str) -> str:
        """Return the path."""
        return uri.removeprefix(SCHEME) or "/"

    def form_problem(self, uri: str) -> str | None:
        """Return how to name a file, None where the path is absolute."""
        return None if uri.startswith(f"{SCHEME}/") else "file:// and an absolute path"

    def whole(self, uri: str) -> str | None:
        """Return `file system` for the root."""
        return None if uri.removeprefix(SCHEME).strip("/") else "file system"

    def resolved(self, uri: str) -> str:
        """Return the URI with symbolic links followed."""
        slash = "/" if uri.endswith("/") else ""
        return SCHEME + os.path.realpath(file_path(uri)).rstrip("/") + slash

    def kind(self, uri: str) -> NameKind:
        """Return what the path stands for."""
        path = file_path(uri)
        if os.path.isdir(path):
            return NameKind.FOLDER
        if os.path.isfile(path):
            return NameKind.OBJECT
        return NameKind.OTHER if os.path.lexists(path) else NameKind.ABSENT

    def first_unreadable(self, uris: Iterable[str]) -> tuple[str, str] | None:
        """Look at the permissions of each file."""
        for uri in uris:
            if not os.access(file_path(uri), os.R_OK):
                return uri, " (permission denied): check its permissions."
        return None

    def check_writable(self, folder_uri: str) -> None:
        """Raise StorageError unless a folder can be made there, which is tried out."""
        folder = place = file_path(folder_uri)
        while not os.path.lexists(place) and place != os.path.dirname(place):
            place = os.path.dirname(place)
        if not os.path.isdir(place):
            raise StorageError(
                f"{folder} cannot be a folder: {place} is not a folder; name another."
            )
        try:
            os.rmdir(tempfile.mkdtemp(prefix=TEMP_PREFIX, dir=place))
        except OSError as error:
            raise PermissionDeniedError(
                f"{folder} cannot be used, as nothing can be written to {place} "
                f"({(error.strerror or str(error)).lower()}). Change that, or name another folder."
            ) from None
        if os.path.isdir(folder):
            _check_unlocked(folder)

    def protect(self, folder_uri: str, secrets: Iterable[str] = ()) -> bool:
        """Make the folder with the mode 0700; return whether others can read it."""
        path = file_path(folder_uri.rstrip("/"))
        with os_errors(path):
            make_lasting_folder(os.path.dirname(path))
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                for uri in secrets:
                    with suppress(OSError):
                        os.chmod(file_path(uri), 0o600)
                return bool(stat_bits.S_IMODE(os.stat(path).st_mode) & 0o044)
            sync(os.path.dirname(path))
            return False

    def lock(self, uri: str) -> Lock:
        """Lock the file, which is made if it is not there."""
        return FileLock(uri)

    def is_locked(self, uri: str) -> bool:
        """Return whether a living process of this machine holds the lock."""
        return is_locked(uri)

    def make_folders(self, folder_uris: Collection[str], *, below: str) -> None:
        """Make the folders, and sync each folder above them once: others may have made these."""
        above: set[str] = set()
        root = file_path(below.rstrip("/"))
        for uri in folder_uris:
            path = file_path(uri.rstrip("/"))
            with os_errors(path), suppress(FileNotFoundError):  # pruned just now
                make_folder(path)
            while path.startswith(f"{root}/"):
                path = os.path.dirname(path)
                above.add(path)
        for path in sorted(above):
            with os_errors(path):
                sync_folder(path)

    def sync(self, folder_uri: str) -> None:
        """Sync the names of the folder; who calls at the same time shares a sync."""
        path = file_path(folder_uri.rstrip("/"))
        with os_errors(path):
            sync_folder(path)

    def prune(self, folder_uri: str, *, up_to: str | None = None, abandoned: bool = False) -> None:
        """Remove the folder unless it holds a file or may not be removed."""
        root = file_path(folder_uri.rstrip("/"))
        if abandoned:
            _prune_below(root)
        else:
            _remove_if_empty(root)
        if up_to is not None:
            stop = file_path(up_to.rstrip("/"))
            while (root := os.path.dirname(root)).startswith(f"{stop}/"):
                _remove_if_empty(root)


def _prune_below(root: str) -> None:
    """Remove a folder and those in it as far as they hold no file but temporaries."""
    for folder, _, names in os.walk(root, topdown=False):
        if all(name.startswith(TEMP_PREFIX) for name in names):
            with os_errors(folder):
                for name in names:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(folder, name))
            _remove_if_empty(folder)


def _remove_if_empty(folder: str) -> None:
    with suppress(OSError):
        os.rmdir(folder)


def _check_unlocked(folder: str) -> None:
    """Raise UnavailableError where somebody holds the lock without which no name is changed."""
    with suppress(OSError):
        try:
            LockedFolder(folder, create=False, wait_seconds=_PROBE_SECONDS).__exit__()
        except UnavailableError:
            raise UnavailableError(
                f"{folder} is locked by another program, such as `flock {folder} …`. End it. A job "
                "keeps others out of its output without such a lock."
            ) from None
