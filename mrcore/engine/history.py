"""Records of embedded runs: one folder each, so that jobs and logs can be looked up later.

    $XDG_STATE_HOME/mrcore/runs/<run>/run.json      the job and how it ended (`RunRecord`)
                                     /state/        the state of the run's master
                                     /master.log    what the daemons printed
                                     /worker-1.log

A run is alive while its client holds the folder's flock. Folders of runs that ended over seven days
ago are removed when another one starts, but not the state of a job that has published a part of its
output: only that state can finish it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

import msgspec

from mrcore.errors import StorageError, UsageError
from mrcore.model.job import JobSpec
from mrcore.model.snapshots import JobView
from mrcore.output.receipt import is_torn
from mrcore.rpc.cluster import state_home
from mrcore.storage.places import Reach
from mrcore.storage.registry import reach_of, shown, uri_of_path
from mrcore.util.clock import SYSTEM, Clock
from mrcore.util.decoding import UNREADABLE
from mrcore.util.folder_lock import lock_folder

KEEP_SECONDS: Final = 7 * 86_400.0
_SWEEP_LIMIT: Final = 50
"""Folders that one start removes at most: cleaning up must not delay a job."""
_ROOM_BYTES: Final = 1 << 20
"""A disk with less room is full: the journal of a small job takes some hundred KB."""


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `run.json`."""

    job: JobView
    """As last seen by the client; final unless the client was killed."""
    state_uri: str
    spec: JobSpec | None = None
    """Fingerprint of the job, to recognise the same command; None for runs of older versions."""
    former: tuple[JobView, ...] = ()
    """Jobs of this run that ended before, and that `job` goes on with; the newest last."""


def runs_folder() -> Path:
    """Return where the runs of this user lie; it may not exist yet."""
    return state_home() / "runs"


class RunFolder:
    """The folder of one run, held locked until `close()` or the end of the process."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self.spec: JobSpec | None = None
        """Kept with each record; set by whoever submits the job."""
        self.former: tuple[JobView, ...] = ()
        """Likewise kept with each record."""
        self._handle = handle

    @classmethod
    def create(cls, clock: Clock = SYSTEM) -> Self:
        """Make a folder that only this user can enter; raise UsageError where none can be made."""
        stamp = datetime.fromtimestamp(clock.wall(), UTC).strftime("%Y%m%d-%H%M%S")
        path = runs_folder() / f"{stamp}-{os.getpid()}-{secrets.token_hex(3)}"
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.mkdir(mode=0o700)
            _check_room(path)
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise UsageError(_unwritable(error)) from None
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return cls(path, handle)

    @classmethod
    def reopen(cls, path: Path) -> Self | None:
        """Return the folder of a run whose client is gone; None while somebody holds it."""
        handle = lock_folder(path)
        return None if handle is None else cls(path, handle)

    @property
    def state_uri(self) -> str:
        """Return the URI of the state of the run's master."""
        return uri_of_path(self.path / "state")

    def record(self, job: JobView) -> None:
        """Write down what is known of the job, whole or not at all; raise StorageError."""
        record = RunRecord(job=job, state_uri=self.state_uri, spec=self.spec, former=self.former)
        temporary = self.path / ".tmp-run.json"
        try:
            temporary.write_bytes(msgspec.json.encode(record))
            temporary.replace(self.path / "run.json")
        except OSError as error:
            raise StorageError(_unwritable(error)) from None

    def close(self) -> None:
        """Let go of the folder; what it holds stays."""
        os.close(self._handle)


def _check_room(path: Path) -> None:
    """Raise OSError on a disk that is full: daemons could not even say so in their logs."""
    disk = os.statvfs(path)
    if disk.f_bavail * disk.f_frsize < _ROOM_BYTES:
        path.rmdir()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _unwritable(error: OSError) -> str:
    return (
        f"The folder of embedded runs, {runs_folder()}, cannot be written "
        f"({(error.strerror or str(error)).lower()}). Set XDG_STATE_HOME to one that can."
    )


def past_runs() -> Iterator[RunRecord]:
    """Yield the records of this user's runs, newest first; unreadable ones are passed over."""
    for folder in sorted(_folders(), reverse=True):
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            yield msgspec.json.decode((folder / "run.json").read_bytes(), type=RunRecord)


def folder_of(record: RunRecord) -> Path:
    """Return the folder of a run."""
    return Path(shown(record.state_uri)).parent


def find_run(job_id: str) -> RunRecord | None:
    """Return the record of the run that had this job, now or before."""
    for record in past_runs():
        for job in (record.job, *record.former):
            if job.job_id == job_id:
                return msgspec.structs.replace(record, job=job)
    return None


def sweep(older_than_seconds: float, *, limit: int = _SWEEP_LIMIT, clock: Clock = SYSTEM) -> int:
    """Remove folders of dead runs unchanged for `older_seconds`; return their number."""
    removed = 0
    for folder in sorted(_folders()):
        if removed >= limit:
            break
        with contextlib.suppress(OSError):
            age = clock.wall() - folder.stat().st_mtime
            if age >= older_than_seconds and not _is_alive(folder) and not _is_needed(folder):
                shutil.rmtree(folder)
                removed += 1
    return removed


def _folders() -> list[Path]:
    try:
        return [path for path in runs_folder().iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []


def _is_needed(folder: Path) -> bool:
    """Return whether the run's state is what can finish a commit; buckets are not asked."""
    try:
        record = msgspec.json.decode((folder / "run.json").read_bytes(), type=RunRecord)
    except (OSError, *UNREADABLE):
        return False
    job = record.job
    if job.state.final or not job.output_uri or reach_of(job.output_uri) is not Reach.MACHINE:
        return False
    return is_torn(job.output_uri, job.job_id)


def _is_alive(folder: Path) -> bool:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
