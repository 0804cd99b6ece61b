"""Pace of a job, and its progress as one line. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from mrcore.model.job import JobState
from mrcore.model.snapshots import JobView, StageView
from mrcore.util import units

MANY_STAGES: Final = 5
"""A job of more stages than this shows only those that run, and the number of finished ones."""
_WINDOW_SECONDS: Final = 10.0
"""Window over which rates are averaged."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Speed of a job."""

    records_per_second: float = 0.0
    bytes_per_second: float = 0.0
    seconds_left: float | None = None
    """Estimated rest of the current stage; None while unknown."""


class Meter:
    """Pace of a job, computed from its views. Pure: `now` is passed in."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float, int, int]] = deque()
        self._stage: str | None = None

    def update(self, job: JobView, now: float) -> Pace:
        """Add the job's view at `now` and return its pace."""
        stage = current_stage(job)
        if stage is None:
            return Pace()
        if stage.name != self._stage:
            self._stage = stage.name
            self._samples.clear()
        self._samples.append((now, stage.done_tasks, stage.records, stage.bytes))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _WINDOW_SECONDS:
            self._samples.popleft()
        then, done, records, size = self._samples[0]
        seconds = now - then
        if seconds < 0.5:
            return Pace()
        tasks_per_second = (stage.done_tasks - done) / seconds
        left = stage.tasks - stage.done_tasks
        return Pace(
            records_per_second=max(0, stage.records - records) / seconds,
            bytes_per_second=max(0, stage.bytes - size) / seconds,
            seconds_left=left / tasks_per_second if tasks_per_second > 0 else None,
        )


def current_stage(job: JobView) -> StageView | None:
    """Return the first unfinished stage; None if all are finished."""
    return next((stage for stage in job.stages if stage.completed < stage.tasks), None)


def shown_stages(job: JobView) -> tuple[str, list[StageView]]:
    """Return the number of finished stages in words, and the stages that are shown.

    A job of a few stages shows all of them, and needs no words.
    """
    stages = [stage for stage in job.stages if stage.tasks]
    if len(stages) <= MANY_STAGES:
        return "", stages
    left = [stage for stage in stages if stage.completed < stage.tasks]
    running = [stage for stage in left if stage.in_progress or stage.completed]
    done = f"{len(stages) - len(left):,} of {len(stages):,} stages done"
    return done, running[:MANY_STAGES] or left[:1]


def failed_attempts(job: JobView) -> int:
    """Return the number of attempts that failed or were lost."""
    counts = job.attempts
    return counts.failed + counts.infrastructure + counts.expired


def failed_words(job: JobView) -> str:
    """Return the number of attempts that failed or were lost in words."""
    lost = job.attempts.expired
    failed = failed_attempts(job) - lost
    if failed and lost:
        return f"{failed:,} failed and {units.show_number(lost, 'lost attempt')}"
    return units.show_number(failed or lost, "failed attempt" if failed else "lost attempt")


def stage_line(job: JobView, pace: Pace) -> str:
    """Return a job's progress as one line, without the job's id."""
    done, stages = shown_stages(job)
    parts = [done] if done else []
    parts += [f"{stage.name} {stage.completed}/{stage.tasks}{_position(stage)}" for stage in stages]
    if job.state is JobState.COMMITTING:
        parts.append("publishing the output")
    if pace.records_per_second:
        rate = units.show_count(pace.records_per_second)
        parts.append(f"{rate} records/s, {units.show_size(pace.bytes_per_second)}/s")
    if failed_attempts(job):
        parts.append(failed_words(job))
    if pace.seconds_left is not None and current_stage(job) is not None:
        parts.append(f"about {units.show_duration(pace.seconds_left)} left in this stage")
    if job.cost is not None:
        parts.append(f"{units.show_dollars(job.cost.dollars)} so far")
    if job.note:
        parts.append(job.note)
    return ", ".join(parts)


def _position(stage: StageView) -> str:
    """Return how far a running stage is: a few long tasks would show nothing else for minutes."""
    if not stage.in_progress or stage.completed == stage.tasks:
        return ""
    return f" ({stage.fraction:.0%}, {units.show_number(stage.records, 'record')})"


def fraction(job: JobView) -> float:
    """Return how much of a job is done, 0 to 1: the tasks of all stages weigh the same."""
    if job.state is JobState.SUCCEEDED:
        return 1.0
    stages = [stage for stage in job.stages if stage.tasks]
    tasks = sum(stage.tasks for stage in stages)
    return sum(stage.fraction * stage.tasks for stage in stages) / tasks if tasks else 0.0
