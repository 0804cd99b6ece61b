"""What a fleet shows to the rest of the master: plain values, replaced at each look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mrcore.views import Cost, FleetView


@dataclass(slots=True)
class Board:
    """The newest view of a fleet; empty where the master has none."""

    view: FleetView | None = None
    note: str = ""
    """For people who wait for a job: one sentence."""
    ending: bool = False
    """No job may be accepted any more."""
    cost: Callable[[str], Cost | None] = field(default=lambda _: None)
    """Of a job, by its id; None where nothing is paid for."""
