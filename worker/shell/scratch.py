"""A worker's folder for what lives no longer than it does."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from mrcore.errors import UsageError
from mrcore.tasks.child.protocol import JobFile, write_job
from mrcore.util.folder_lock import lock_folder
from mrcore.worker.shell.orphans import sweep_marked
from mrcore.worker.shell.threads import in_thread

_PREFIX = "worker-"

log = logging.getLogger("mrcore.worker")


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
        lock = lock_folder(draft)
        if lock is None:
            raise OSError(f"the new folder {draft} cannot be locked")
        return lock, draft


@contextlib.contextmanager
def scratch_folder(base: Path) -> Iterator[Scratch]:
    """Yield a new folder below `base`; remove it after.

    Folders that killed workers have left there are removed first: their locks are free.
    """
    base = base.absolute()
    sweep(base)
    scratch = Scratch(base)
    try:
        yield scratch
    finally:
        scratch.remove()


def scratch_base(given: Path | None) -> Path:
    """Return the folder in which workers keep theirs: below the system's temporary one by default.

    Raises UsageError where somebody else owns or may change the default one, which anybody can
    make.
    """
    if given is not None:
        return given
    base = Path(tempfile.gettempdir()) / f"mrcore-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        base.mkdir(mode=0o700, parents=True)
    status = base.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise UsageError(
            f"The folder {base} is not yours alone, so others could change what is kept there. "
            "Remove it, or give --scratch DIR."
        )
    return base


def sweep(base: Path) -> None:
    """Remove the folders of workers that are gone, and end what their user code has left."""
    for folder in base.glob(f"{_PREFIX}*"):
        lock = lock_folder(folder)
        if lock is not None:
            sweep_marked(folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


class Folders:
    """Content of the scratch folder: jobs for children to read, and a folder for each child."""

    def __init__(self, path: Path, restore: Callable[[], None], sweeps_max: int) -> None:
        self.path = path
        self._restore = restore
        self._sweeps_max = sweeps_max
        self.sweeps = 0
        """Folders that are being removed."""

    def are_there(self) -> bool:
        """Return whether nobody has swept them away."""
        return (self.path / "jobs").is_dir()

    def make(self) -> None:
        """Make them, or make them anew; raise OSError if that fails."""
        self._restore()
        (self.path / "jobs").mkdir(parents=True, exist_ok=True)

    def of_child(self, process_id: int) -> Path:
        """Return the folder of a child, which makes it itself."""
        return self.path / f"child-{process_id}"

    def keep_job(self, job_id: str, job: JobFile) -> None:
        """Write a job where children find it; raise OSError if that fails."""
        write_job(self.path / "jobs", job_id, job)

    def has_job(self, job_id: str) -> bool:
        """Return whether children find a job: what cleans old files may have taken it."""
        return (self.path / "jobs" / job_id).exists()

    def drop_job(self, job_id: str) -> None:
        """Remove the file of a job, if there is one."""
        with contextlib.suppress(OSError):
            (self.path / "jobs" / job_id).unlink()

    async def sweep(self, process_id: int) -> None:
        """Remove the folder of a child that is dead.

        Where the disk is too slow for that, folders stay until the worker ends.
        """
        if self.sweeps >= self._sweeps_max:
            log.warning("%s is removed too slowly: more is left there", self.path)
            return
        self.sweeps += 1
        await in_thread(shutil.rmtree, self.of_child(process_id), True)
        self.sweeps -= 1
