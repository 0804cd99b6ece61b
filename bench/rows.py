"""The rows of the table: a figure, what it should be, and whether it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

Point: TypeAlias = Mapping[str, str | float]


class WrongOutputError(Exception):
    """Output that differs from what another program has made of the same input."""


@dataclass(frozen=True, slots=True)
class Target:
    """Bound that a figure has to reach, and the one that it should reach."""

    required: float | None
    aim: float | None = None
    higher_is_better: bool = True

    def verdict(self, value: float) -> str:
        """Return how a figure compares with the target; empty where there is none."""
        if self.required is None:
            return ""
        if not self._reaches(value, self.required):
            return "MISSED"
        if self.aim is not None and self._reaches(value, self.aim):
            return "aim"
        return "reached"

    def _reaches(self, value: float, bound: float) -> bool:
        return value >= bound if self.higher_is_better else value <= bound

    def shown(self, unit: str) -> str:
        """Return the target as text, such as "at least 0.9 x"."""
        if self.required is None:
            return ""
        bound = "at least" if self.higher_is_better else "at most"
        return f"{bound} {self.required:g} {unit}"


NO_TARGET = Target(None)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    value: float
    unit: str
    target: Target
    detail: str
    point: Point | None = None
    """Place of the figure among others of its kind, for a chart: work, megabytes, workers."""

    @property
    def verdict(self) -> str:
        """Return "MISSED", "reached" or "aim"; an empty text where there is no target."""
        return self.target.verdict(self.value)

    def line(self) -> str:
        """Return the line of the table."""
        value = shown_value(self.value)
        shown = self.target.shown(self.unit)
        return (
            f"{self.name:44} {f'{value} {self.unit}':>14}  {shown:20} {self.verdict:7} "
            f"{self.detail}"
        ).rstrip()

    def record(self) -> dict[str, Any]:
        """Return the row for JSON."""
        return {**asdict(self), "verdict": self.verdict}


def shown_value(value: float) -> str:
    """Return a figure with as many digits as matter."""
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
