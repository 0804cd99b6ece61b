"""Progress of a map as one line on stderr: redrawn on a terminal, now and then elsewhere."""

from __future__ import annotations

import sys
from typing import Final

from mrcore.util.clock import SYSTEM, Clock
from mrcore.util.units import show_count, show_duration

DRAW_SECONDS: Final = 0.2
FIRST_SECONDS: Final = 1.0
"""Nothing is drawn for what ends within this time."""
LINE_SECONDS: Final = 5.0
"""Time between two lines where the last one cannot be drawn over."""
_BAR_CHARACTERS: Final = 20


class Bar:
    """Count of the items of a map that have ended."""

    def __init__(
        self, name: str, total: int | None, *, is_shown: bool | None, clock: Clock = SYSTEM
    ) -> None:
        """Prepare; with `is_shown` None it is shown on a terminal and in a notebook."""
        self._name = name
        self._total = total
        self._clock = clock
        self._done = 0
        self._begun = self._drawn_at = clock.monotonic()
        self._is_live = _can_redraw()
        self._is_shown = self._is_live if is_shown is None else is_shown
        self._width = 0

    def add(self, items: int) -> None:
        """Note that items have ended, and draw if it is time."""
        self._done += items
        self.draw()

    def fraction(self) -> float:
        """Return the part that has ended, 0 to 1; 0 where the whole is unknown."""
        return self._done / self._total if self._total else 0.0

    def line(self) -> str:
        """Return the line without its bar."""
        seconds = self._clock.monotonic() - self._begun
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
        if not self._is_shown:
            return
        now = self._clock.monotonic()
        pause = DRAW_SECONDS if self._is_live else LINE_SECONDS
        first = FIRST_SECONDS if self._is_live else LINE_SECONDS
        if now - self._drawn_at >= pause and now - self._begun >= first:
            self._drawn_at = now
            self._write()

    def close(self) -> None:
        """Leave the last line as it is; nothing is drawn from now on."""
        if self._is_shown and self._width:
            self._write()
            if self._is_live:
                _print("\n")
        self._is_shown = False

    def _write(self) -> None:
        if not self._is_live:
            self._width = 1
            _print(f"{self.line()}\n")
            return
        filled = round(self.fraction() * _BAR_CHARACTERS)
        bar = "━" * filled + "─" * (_BAR_CHARACTERS - filled) + " " if self._total else ""
        text = f"{bar}{self.line()}"
        padding = " " * max(0, self._width - len(text))
        self._width = len(text)
        _print(f"\r{text}{padding}")


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
