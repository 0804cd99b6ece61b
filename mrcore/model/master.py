"""Masters as people and programs see them."""

from __future__ import annotations

import enum
from typing import Final

import msgspec

MAX_MASTERS: Final = 9
"""Masters of one cluster on one machine."""


class MasterRole(enum.StrEnum):
    """Role of a master in its cluster."""

    LEADER = "leader"
    """It tracks the jobs, and answers everybody."""
    STANDBY = "standby"
    """It reads along, and takes over when the leader is gone."""


class MasterView(msgspec.Struct, frozen=True, kw_only=True):
    """One master, as the state or the leader shows it."""

    master_id: str
    """Random token of its process."""
    address: str
    role: MasterRole
    epoch: int = 0
    """Newest epoch in the journal, as far as this master has read it."""
    entry: int = 0
    """Number of the newest journal entry that it has read."""
    behind: int = 0
    """Entries that it had yet to read."""
    host: str = ""
    process_id: int = 0
    started_at: float = 0.0
    """Wall-clock time of its start, seconds since 1970."""
    heard_seconds: float = 0.0
    """Time since its latest sign of life."""
