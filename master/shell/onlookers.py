"""People who look on: the jobs that they watch, and the tasks whose output they follow.

Nothing of it is durable. Workers report more often, and store what user code has printed so far,
only while somebody looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

from mrcore.model.ids import AttemptId, TaskId
from mrcore.util.clock import Clock

KEPT_SECONDS: Final = 10.0
"""Time for which a look counts."""
LOOK_SECONDS: Final = 1.0
"""Time between two reports of a worker, where there are few."""
LOOKS_PER_SECOND: Final = 50.0
"""Reports of all workers together, so that a large cluster costs its master no more."""
LOOKED_AT_MAX: Final = 1_000
"""Jobs and tasks that are looked at, the newest."""

_Name = TypeVar("_Name")
_Followed = tuple[str, int | None, int]
"""Job, number of the stage or None for all tasks, and index."""


class Onlookers:
    """The looks of the last seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watched: dict[str, float] = {}
        """End of the looks at each job, the newest last."""
        self._followed: dict[_Followed, float] = {}

    def watch(self, job_id: str) -> None:
        """Note that somebody looks at a job."""
        _note(self._watched, job_id, self._clock.monotonic())

    def follow(self, job_id: str, stage: int | None, index: int) -> None:
        """Note that somebody follows the output of a task, or of all tasks of a job."""
        self.watch(job_id)
        name = (job_id, stage, 0 if stage is None else index)
        _note(self._followed, name, self._clock.monotonic())

    def look_seconds(self, job_ids: Iterable[str], workers: int) -> float:
        """Return how often a worker with attempts of these jobs reports; 0 if nobody looks."""
        now = self._clock.monotonic()
        if any(self._watched.get(job_id, 0.0) > now for job_id in job_ids):
            return max(LOOK_SECONDS, workers / LOOKS_PER_SECOND)
        return 0.0

    def is_followed(self, attempt: AttemptId) -> bool:
        """Return whether somebody follows the output of an attempt."""
        if not self._followed:
            return False
        task: TaskId = attempt.task
        now = self._clock.monotonic()
        names = ((task.job_id, task.stage, task.index), (task.job_id, None, 0))
        return any(self._followed.get(name, 0.0) > now for name in names)


def _note(looks: dict[_Name, float], name: _Name, now: float) -> None:
    """Note a look as the newest, and forget what is over or too much."""
    looks.pop(name, None)
    looks[name] = now + KEPT_SECONDS
    while len(looks) > LOOKED_AT_MAX or next(iter(looks.values())) <= now:
        del looks[next(iter(looks))]
