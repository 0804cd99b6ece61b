"""What a master is told at its start."""

from __future__ import annotations

from dataclasses import dataclass

from mrcore.master.fleet.options import FleetOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line of `mrcore master`, checked."""

    host: str
    port: int
    """0 takes a free one."""
    state_uri: str
    tls: bool = False
    take_over: bool = False
    """Replace a master that is still alive."""
    advertise: str = ""
    """The name by which others reach this host; empty: as it listens."""
    expect_slots: int = 0
    """Plan jobs for at least so many slots: workers may join after the first submission."""
    metrics: str = ""
    """HOST:PORT for Prometheus; empty: none."""
    fleet: FleetOptions | None = None
    ready_fd: int | None = None
    lifeline_fd: int | None = None
