"""Status of a fleet, for the rest of the master: plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from mrcore.model.snapshots import Cost, FleetView

CostOf: TypeAlias = Callable[[str], Cost | None]
"""Function that returns the cost of a job by its id; None where nothing is paid for."""


def _nothing(job_id: str) -> Cost | None:
    return None


@dataclass(slots=True)
class FleetStatus:
    """Newest status of a fleet; empty where the master has none."""

    cost: CostOf = _nothing
    view: FleetView | None = None
    note: str = ""
    """One sentence for people who wait for a job."""
    unfit: dict[str, str] = field(default_factory=dict)
    """Jobs whose tasks no machine of the fleet can run, and why."""
    ending: bool = False
    """Whether jobs are refused because the cluster is about to end."""
