"""What a fleet and the committer show to the rest of the master: plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mrcore.model.snapshots import Cost, FleetView


@dataclass(slots=True)
class Board:
    """The newest view of a fleet; empty where the master has none."""

    view: FleetView | None = None
    note: str = ""
    """For people who wait for a job: one sentence."""
    job_notes: dict[str, str] = field(default_factory=dict)
    """What the plan or the commit of a job waits for, one sentence by job id."""
    ending: bool = False
    """No job may be accepted any more."""
    cost: Callable[[str], Cost | None] = field(default=lambda _: None)
    """Of a job, by its id; None where nothing is paid for."""
