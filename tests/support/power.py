"""A disk whose power is cut: names that were changed and never synced may be lost, any of them."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.commit_world import Crash

Undo = Callable[[], None]

_link, _unlink, _replace, _mkdir = os.link, os.unlink, os.replace, os.mkdir


class Disk:
    """Watches the names below a folder; the syncs are believed, not done."""

    def __init__(self, keep: Path) -> None:
        self._keep = keep
        """Folder for the files of names that are gone, on the same file system."""
        keep.mkdir(parents=True)
        self._kept = 0
        self.unsynced: list[tuple[str, Undo]] = []
        """Changes that a power cut may undo: the folder, and how."""
        self.synced_files: Final[set[int]] = set()
        """Inodes whose content is durable."""
        self.failing_folder_syncs = 0
        """Syncs of folders, from the next one on, that fail with EIO and sync nothing."""
        self.operations = 0
        self._dies_at: int | None = None

    @contextmanager
    def watched(self, dies_at: int | None = None) -> Iterator[None]:
        """Take part in what the process does; let it die before an operation."""
        self.operations = 0
        self._dies_at = dies_at
        can_link = _link is os.link
        with pytest.MonkeyPatch.context() as patch:
            if can_link:
                patch.setattr(os, "link", self._linked)
            patch.setattr(os, "mkdir", self._made)
            patch.setattr(os, "unlink", self._unlinked)
            patch.setattr(os, "replace", self._replaced)
            patch.setattr(os, "fsync", self._synced)
            yield

    def cut(self, lost: Sequence[bool]) -> None:
        """Lose the unsynced changes that are chosen, the last one first."""
        for (_, undo), is_lost in reversed(list(zip(self.unsynced, lost, strict=True))):
            if is_lost:
                undo()
        self.unsynced.clear()

    def _step(self) -> None:
        self.operations += 1
        if self._dies_at is not None and self.operations > self._dies_at:
            raise Crash

    def _save(self, path: str) -> Undo:
        """Return how to make `path` again what it is now."""
        if not os.path.lexists(path):
            return lambda: Path(path).unlink(missing_ok=True)
        self._kept += 1
        copy = f"{self._keep}/{self._kept}"
        _link(path, copy)

        def restore() -> None:
            with suppress(FileNotFoundError):
                _unlink(path)
            _link(copy, path)

        return restore

    def _linked(self, source: str, name: str, **options: Any) -> None:
        self._step()
        undo = self._save(name)
        _link(source, name, **options)
        self.unsynced.append((str(Path(name).parent), undo))

    def _made(self, path: str, mode: int = 0o777) -> None:
        self._step()
        _mkdir(path, mode)
        self.unsynced.append((str(Path(path).parent), lambda: shutil.rmtree(path)))

    def _unlinked(self, name: str) -> None:
        self._step()
        undo = self._save(name)
        _unlink(name)
        self.unsynced.append((str(Path(name).parent), undo))

    def _replaced(self, source: str, name: str) -> None:
        self._step()
        undo_source, undo_name = self._save(source), self._save(name)
        _replace(source, name)

        def undo() -> None:
            undo_name()
            undo_source()

        self.unsynced.append((str(Path(name).parent), undo))

    def _synced(self, fd: int) -> None:
        self._step()
        status = os.fstat(fd)
        if self.failing_folder_syncs and stat.S_ISDIR(status.st_mode):
            self.failing_folder_syncs -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.synced_files.add(status.st_ino)
        self.unsynced = [
            (folder, undo)
            for folder, undo in self.unsynced
            if not os.path.samestat(status, Path(folder).stat())
        ]
