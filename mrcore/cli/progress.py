"""Display of a job's progress: live on a terminal, plain lines elsewhere.

Both write to stderr, so that stdout stays for results.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, TextIO

import msgspec

from mrcore.client.pace import (
    MANY_STAGES,
    Meter,
    Pace,
    current_stage,
    failed_words,
    shown_stages,
    stage_line,
)
from mrcore.model.job import JobState
from mrcore.model.snapshots import FailureView, JobView
from mrcore.util import units
from mrcore.util.clock import SYSTEM, Clock

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live

LINE_SECONDS: Final = 5.0
"""Time between two plain lines while the state stays the same."""
NOTE_SECONDS: Final = 2.0
"""A note of the master is printed once it has lasted this long."""
_NARROW_COLUMNS: Final = 60
"""Narrower terminals show neither bars nor bytes, which would make lines wrap."""


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _planned(job: JobView) -> list[str]:
    """Return the tasks of a job in words: by stage, or in all for a job of many stages."""
    stages = [stage for stage in job.stages if stage.tasks]
    if len(stages) > MANY_STAGES:
        tasks = sum(stage.tasks for stage in stages)
        return [f"{len(stages):,} stages of {_counted(tasks, 'task')} in all"]
    return [_counted(stage.tasks, f"{stage.name} task") for stage in stages]


def failure_line(failure: FailureView) -> str:
    """Return a failed attempt as one line."""
    place = f" on {failure.worker_id}" if failure.worker_id else ""
    return f"{failure.attempt or 'an attempt'} failed{place}: {failure.message}"


class FailureNews:
    """Filter of failures: each attempt is reported once, each message in full once."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()
        self._messages: set[str] = set()

    def of(self, job: JobView) -> Iterator[FailureView]:
        """Yield each new failure of the job; shorten one whose message is known."""
        for failure in job.recent_failures:
            name = (failure.attempt, failure.message)
            if name in self._seen:
                continue
            self._seen.add(name)
            if failure.message in self._messages:
                yield msgspec.structs.replace(failure, message="the same again.", traceback="")
            else:
                self._messages.add(failure.message)
                yield failure


class SkewNews:
    """Sentences on tasks that are far above the others: each is reported once."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def of(self, job: JobView) -> Iterator[str]:
        """Yield each new sentence."""
        for stage in job.stages:
            if stage.skew and stage.skew not in self._seen:
                self._seen.add(stage.skew)
                yield stage.skew


class PlainProgress:
    """Plain progress lines: one when the state changes or an attempt fails, else one in 5 s.

    `job` is the last view of the job.
    """

    def __init__(self, stream: TextIO | None = None, clock: Clock = SYSTEM) -> None:
        self.job: JobView | None = None
        self._stream = stream or sys.stderr
        self._clock = clock
        self._meter = Meter()
        self._said: tuple[str, ...] | None = None
        self._said_at = clock.monotonic()
        self._failures = FailureNews()
        self._skews = SkewNews()
        self._noted, self._noted_at, self._note_told = "", 0.0, False

    def update(self, job: JobView) -> None:
        """Print a line on news, or if the last line is old."""
        self.job = job
        if job.state is JobState.WAITING:
            if job.note != self._noted:
                self._noted = job.note
                self.note(f"{job.job_id} {job.note}")
            return
        now = self._clock.monotonic()
        pace = self._meter.update(job, now)
        if self._said is None and job.stages:
            words = [*_planned(job), f"{units.show_size(job.input_bytes)} of input."]
            self.note(f"{job.job_id}: {', '.join(words)}")
        for failure in self._failures.of(job):
            self.note(failure_line(failure))
        for sentence in self._skews.of(job):
            self.note(sentence)
        current = current_stage(job)
        state = (job.state.value, current.name if current else "")
        self._heed_note(job, now)
        if job.state.final or (state == self._said and now - self._said_at < LINE_SECONDS):
            return
        if self._said is not None:
            self.note(stage_line(job, pace))
        self._said, self._said_at = state, now

    def tick(self) -> None:
        """Print the master's note once it has lasted, and a line if the last one is old."""
        if self.job is None or self.job.state is JobState.WAITING:
            return
        if self._said is not None and self._clock.monotonic() - self._said_at >= LINE_SECONDS:
            self.update(self.job)
        else:
            self._heed_note(self.job, self._clock.monotonic())

    def _heed_note(self, job: JobView, now: float) -> None:
        """Print the job's note if it lasts; a wait of a moment is not worth a line."""
        if job.note != self._noted:
            self._noted, self._noted_at, self._note_told = job.note, now, False
        if job.note and not self._note_told and now - self._noted_at >= NOTE_SECONDS:
            self._note_told = True
            self.note(job.note)

    def note(self, text: str) -> None:
        """Print a line."""
        print(f"mrcore: {text}", file=self._stream, flush=True)

    def close(self) -> None:
        """Do nothing; the lines are flushed."""


class LiveProgress:
    """Live progress display: stages with bars, pace and failures.

    `job` is the last view of the job.
    """

    def __init__(self, clock: Clock = SYSTEM, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True, highlight=False)
        self._clock = clock
        self._begun = clock.monotonic()
        self._meter = Meter()
        self._pace = Pace()
        self.job: JobView | None = None
        self._live: Live | None = None
        self._failures = FailureNews()
        self._skews = SkewNews()

    def update(self, job: JobView) -> None:
        """Show a new view of the job."""
        from rich.live import Live

        self.job = job
        self._pace = self._meter.update(job, self._clock.monotonic())
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        for failure in self._failures.of(job):
            self._console.print(failure_line(failure), style="yellow", markup=False)
        for sentence in self._skews.of(job):
            self._console.print(sentence, style="yellow", markup=False)
        self.tick()

    def tick(self) -> None:
        """Redraw the display."""
        if self._live is not None and self.job is not None:
            self._live.update(self._picture(self.job), refresh=True)

    def note(self, text: str) -> None:
        """Print a line above the display."""
        self._console.print(f"mrcore: {text}", markup=False)

    def close(self) -> None:
        """Remove the display."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _picture(self, job: JobView) -> Group:
        from rich.cells import cell_len
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        elapsed = units.show_duration(self._clock.monotonic() - self._begun)
        state = f"  {job.state}  {elapsed}"
        fits = cell_len(job.job_id + state) <= self._console.width
        title = Text(no_wrap=True, overflow="ellipsis").append(job.job_id, "bold")
        title.append(state if fits else f"\n{state}")
        table = Table.grid(padding=(0, 2))
        narrow = self._console.width < _NARROW_COLUMNS
        done, stages = shown_stages(job)
        if done:
            title.append(f"\n  {done}")
        for stage in stages:
            tasks = f"{stage.completed}/{stage.tasks} tasks"
            records = units.show_number(stage.records, "record")
            if narrow:
                table.add_row(f"  {stage.name}", tasks, records)
                continue
            table.add_row(
                f"  {stage.name}",
                ProgressBar(total=1.0, completed=stage.fraction, width=30),
                f"{tasks}, {stage.in_progress} running",
                f"{records}, {units.show_size(stage.bytes)}",
            )
        return Group(title, table, Text(f"  {self._pace_line(job)}", style="dim"))

    def _pace_line(self, job: JobView) -> str:
        if job.state is JobState.WAITING:
            return job.note
        pace, parts = self._pace, []
        if job.state is JobState.COMMITTING:
            parts.append("publishing the output")
        parts.append(f"{units.show_count(pace.records_per_second)} records/s")
        parts.append(f"{units.show_size(pace.bytes_per_second)}/s")
        if pace.seconds_left is not None:
            parts.append(f"about {units.show_duration(pace.seconds_left)} left in this stage")
        parts.append(failed_words(job))
        if job.cost is not None:
            parts.append(f"{units.show_dollars(job.cost.dollars)} so far")
        if job.note:
            parts.append(job.note)
        return ", ".join(parts)


def make_progress() -> PlainProgress | LiveProgress:
    """Return a live display if stderr is a terminal, else plain lines."""
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()
