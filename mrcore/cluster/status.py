"""State of a cluster in numbers: workers, slots, memory and tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from mrcore.cluster.tables import bar_html, paragraph
from mrcore.model.job import JobState
from mrcore.model.snapshots import JobView, WorkerView
from mrcore.util.units import show_number, show_size

ONLINE_SECONDS: Final = 15.0
"""A worker that was heard within this time counts as online."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Status:
    """A cluster at one moment. It prints as text, and as HTML in a notebook."""

    address: str
    workers: int
    """Workers that the master knows."""
    online: int
    """Workers that were heard within the last 15 s and take work."""
    slots: int
    """Tasks that the online workers can run at once."""
    busy: int
    """Slots that run a task."""
    memory_bytes: int
    """Memory that the online workers offer; 0 where they do not report it."""
    tasks_queued: int
    """Tasks of running jobs that can start and wait for a slot."""
    tasks_running: int
    jobs_running: int
    jobs_waiting: int

    @property
    def utilisation(self) -> float:
        """Return the part of the slots that is busy, 0 to 1; 0 without slots."""
        return min(1.0, self.busy / self.slots) if self.slots else 0.0

    def __str__(self) -> str:
        """Return three lines of text."""
        return "\n".join(self._lines())

    __repr__ = __str__

    def _lines(self) -> list[str]:
        memory = f", {show_size(self.memory_bytes)} of memory" if self.memory_bytes else ""
        waiting = f", {self.jobs_waiting} waiting" if self.jobs_waiting else ""
        return [
            f"cluster at {self.address}",
            f"{show_number(self.workers, 'worker')}, {self.online} online; {self.busy} of "
            f"{show_number(self.slots, 'slot')} busy ({self.utilisation:.0%}){memory}",
            f"{show_number(self.jobs_running, 'job')} running{waiting}; "
            f"{show_number(self.tasks_running, 'task')} running, {self.tasks_queued:,} queued",
        ]

    def _repr_html_(self) -> str:
        """Return the same for a notebook, with a bar."""
        first, second, third = self._lines()
        bar = bar_html(self.utilisation, f"{self.busy} of {self.slots} slots busy")
        return paragraph(first) + paragraph(second) + paragraph(third) + bar


def status_of(address: str, workers: Sequence[WorkerView], jobs: Iterable[JobView]) -> Status:
    """Return the state of a cluster; `jobs` are those that have not ended."""
    online = [one for one in workers if is_online(one)]
    running = [job for job in jobs if not job.state.final]
    active = [job for job in running if job.state is not JobState.WAITING]
    return Status(
        address=address,
        workers=len(workers),
        online=len(online),
        slots=online_slots(workers),
        busy=sum(min(one.running, one.slots) for one in online),
        memory_bytes=sum(one.memory_bytes for one in online),
        tasks_queued=sum(_ready(job) for job in active),
        tasks_running=sum(stage.in_progress for job in active for stage in job.stages),
        jobs_running=len(active),
        jobs_waiting=len(running) - len(active),
    )


def is_online(worker: WorkerView) -> bool:
    """Return whether a worker was heard of late and takes work."""
    return worker.silent_seconds < ONLINE_SECONDS and not worker.draining


def online_slots(workers: Iterable[WorkerView]) -> int:
    """Return the number of tasks that the online workers can run at once."""
    return sum(one.slots for one in workers if is_online(one))


def _ready(job: JobView) -> int:
    """Return the tasks that can start: those of the first stage that is not complete."""
    for stage in job.stages:
        if stage.completed < stage.tasks:
            return stage.idle
    return 0
