"""Jobs that a worker's children run: their specifications, files and groups."""

from __future__ import annotations

from typing import Final

from mrcore.model.job import JobSpec
from mrcore.tasks.child.protocol import JobFile
from mrcore.worker.shell.scratch import Folders

_CALLS: Final = "calls within "


def is_for_calls(group: str) -> bool:
    """Return whether a group is one of calls."""
    return group.startswith(_CALLS)


class Jobs:
    """The jobs that are kept. A child takes orders of one group only.

    Each job with a plugin is a group. All sessions with one memory limit are a group, so that a
    new session finds processes that run, with the functions and values that they have loaded.
    """

    def __init__(self, slot_memory_bytes: int, folders: Folders) -> None:
        self._slot_memory_bytes = slot_memory_bytes
        self._folders = folders
        self._kept: dict[str, JobFile] = {}

    def keep(self, job_id: str, job: JobFile) -> None:
        """Keep a job; children find it in a file from their first order on."""
        self._kept[job_id] = job

    def forget(self, job_id: str) -> None:
        """Forget a job without held attempts."""
        self._kept.pop(job_id, None)
        self._folders.drop_job(job_id)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, job_id: str) -> JobFile:
        return self._kept[job_id]

    def spec(self, job_id: str) -> JobSpec:
        """Return the specification of a job that is kept."""
        return self._kept[job_id].spec

    def group(self, job_id: str) -> str:
        """Return the group of a job's orders."""
        if self.spec(job_id).session is None:
            return job_id
        return f"{_CALLS}{self.memory_bytes(job_id)}"

    def memory_bytes(self, job_id: str) -> int:
        """Return the memory limit of a process that runs an attempt of the job."""
        spec = self.spec(job_id)
        return spec.memory_bytes or spec.resources.memory_bytes or self._slot_memory_bytes

    def provide_file(self, job_id: str) -> None:
        """Write the file of a job if it is not there; raise OSError if that fails."""
        if not self._folders.has_job(job_id):
            self._folders.keep_job(job_id, self._kept[job_id])
