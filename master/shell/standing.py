"""Place of a master among those of its state, as metrics and `/healthz` show it."""

from __future__ import annotations

from dataclasses import dataclass

from mrcore.model.master import MasterRole


@dataclass(frozen=True, slots=True)
class Standing:
    """Role of a master, and how far it has read the journal."""

    role: MasterRole
    epoch: int
    """Newest epoch in the journal, as far as this master has read it."""
    entry: int
    """Number of the newest entry that it has read."""
    behind_entries: int = 0
    """Entries that it had yet to read when it looked last."""
    behind_seconds: float = 0.0
    """Age of what it knows: the time since it had read all that was there."""
