"""Progress of a map or a job as one line on stderr: redrawn on a terminal, else now and then."""

from __future__ import annotations

import os
import sys
from typing import Final

from mrcore.client.pace import Meter, Pace, fraction, stage_line
from mrcore.model.job import JobState
from mrcore.model.snapshots import JobView
from mrcore.util.clock import SYSTEM, Clock
from mrcore.util.units import show_count, show_duration

DRAW_SECONDS: Final = 0.2
FIRST_SECONDS: Final = 1.0
"""Nothing is drawn for what ends within this time."""
LINE_SECONDS: Final = 5.0
"""Time between two lines where the last one cannot be drawn over."""
_BAR_CHARACTERS: Final = 20
_FREE_COLUMNS: Final = 120
"""Characters of a line where the width is unknown."""


class Line:
    """A line with a bar, drawn when it is time."""

    def __init__(self, *, is_shown: bool | None, clock: Clock = SYSTEM) -> None:
        """Prepare; with `is_shown` None it is shown on a terminal and in a notebook."""
        self._clock = clock
        self.begun = self._drawn_at = clock.monotonic()
        self._is_live = _can_redraw()
        self.is_shown = self._is_live if is_shown is None else is_shown
        self._width = 0

    def draw(self, text: str, fraction: float | None) -> None:
        """Draw the line if it is time; without a fraction it has no bar."""
        now = self._clock.monotonic()
        pause = DRAW_SECONDS if self._is_live else LINE_SECONDS
        first = FIRST_SECONDS if self._is_live else LINE_SECONDS
        if self.is_shown and now - self._drawn_at >= pause and now - self.begun >= first:
            self._drawn_at = now
            self._write(text, fraction)

    def close(self, text: str, fraction: float | None) -> None:
        """Leave the last line as it is; nothing is drawn from now on."""
        if self.is_shown and self._width:
            self._write(text, fraction)
            if self._is_live:
                _print("\n")
        self.is_shown = False

    def note(self, text: str) -> None:
        """Print a line of its own, where anything is shown."""
        if not self.is_shown:
            return
        if self._is_live and self._width:
            _print(f"\r{' ' * self._width}\r")
            self._width = 0
        _print(f"{text}\n")

    def _write(self, text: str, fraction: float | None) -> None:
        if not self._is_live:
            self._width = 1
            _print(f"{text}\n")
            return
        if fraction is not None:
            filled = round(fraction * _BAR_CHARACTERS)
            text = f"{'━' * filled}{'─' * (_BAR_CHARACTERS - filled)} {text}"
        text = shortened(text)
        padding = " " * max(0, self._width - len(text))
        self._width = len(text)
        _print(f"\r{text}{padding}")


class Bar:
    """Progress of a map: the items that have ended."""

    def __init__(
        self, name: str, total: int | None, *, is_shown: bool | None, clock: Clock = SYSTEM
    ) -> None:
        """Prepare; with `is_shown` None it is shown on a terminal and in a notebook."""
        self._name = name
        self._total = total
        self._clock = clock
        self._done = 0
        self._line = Line(is_shown=is_shown, clock=clock)

    def add(self, items: int) -> None:
        """Note that items have ended, and draw if it is time."""
        self._done += items
        self.draw()

    def fraction(self) -> float:
        """Return the part that has ended, 0 to 1; 0 where the whole is unknown."""
        return self._done / self._total if self._total else 0.0

    def line(self) -> str:
        """Return the line without its bar."""
        seconds = self._clock.monotonic() - self._line.begun
        rate = self._done / seconds if seconds > 0 else 0.0
        words = f"{self._done:,}"
        if self._total is not None:
            words += f"/{self._total:,}"
        if rate:
            words += f", {show_count(rate)}/s"
        if rate and self._total is not None and self._done < self._total:
            words += f", about {show_duration((self._total - self._done) / rate)} left"
        return f"{self._name}: {words}"

    def draw(self) -> None:
        """Draw the line if it is time."""
        if self._line.is_shown:
            self._line.draw(self.line(), self.fraction() if self._total else None)

    def close(self) -> None:
        """Leave the last line as it is; nothing is drawn from now on."""
        self._line.close(self.line(), self.fraction() if self._total else None)


class JobLine:
    """Observer that shows a job as a line with a bar."""

    def __init__(self, name: str, *, is_shown: bool | None, clock: Clock = SYSTEM) -> None:
        """Prepare; with `is_shown` None it is shown on a terminal and in a notebook."""
        self._name = name
        self._clock = clock
        self._line = Line(is_shown=is_shown, clock=clock)
        self._meter = Meter()
        self._pace = Pace()
        self._job: JobView | None = None

    def update(self, job: JobView) -> None:
        """Take the job as it stands now, and draw if it is time."""
        self._job = job
        self._pace = self._meter.update(job, self._clock.monotonic())
        self.tick()

    def tick(self) -> None:
        """Draw the line if it is time."""
        if self._line.is_shown:
            self._line.draw(*self._picture())

    def note(self, text: str) -> None:
        """Show a sentence to a person."""
        self._line.note(f"mrcore: {text}")

    def close(self) -> None:
        """Leave the last line as it is; nothing is drawn from now on."""
        self._line.close(*self._picture())

    def _picture(self) -> tuple[str, float | None]:
        """Return the text of the line, and how much of the job is done."""
        if self._job is None:
            return f"{self._name}: starting", None
        if self._job.state is JobState.WAITING:
            return f"{self._name}: {self._job.note}", None
        return f"{self._name}: {stage_line(self._job, self._pace)}", fraction(self._job)


def shortened(text: str) -> str:
    """Return a line cut to the width of the terminal: a longer one could not be drawn over."""
    columns = _columns()
    return text if len(text) < columns else f"{text[: max(1, columns - 2)]}…"


def _columns() -> int:
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _FREE_COLUMNS
    except (AttributeError, OSError, ValueError):
        return _FREE_COLUMNS


def in_notebook() -> bool:
    """Return whether output goes to a cell of a notebook."""
    kernel = sys.modules.get("ipykernel.zmqshell")
    shell = sys.modules.get("IPython")
    if kernel is None or shell is None:
        return False
    return isinstance(shell.get_ipython(), kernel.ZMQInteractiveShell)


def _can_redraw() -> bool:
    try:
        return in_notebook() or sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False  # there is no stderr, or it is closed


def _print(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        return  # nobody reads it
