"""Options of a master."""

from __future__ import annotations

from dataclasses import dataclass

from mrcore.master.fleet.options import FleetOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line of `mrcore master`, checked."""

    host: str
    port: int
    """Port; 0 takes a free one."""
    state_uri: str
    tls: bool = False
    mutual_tls: bool = False
    """Whether callers need a certificate of the cluster; `tls` is set then."""
    take_over: bool = False
    """Whether to replace a master that is still running."""
    standby: bool = False
    """Whether to read along and wait until there is no leader."""
    advertise: str = ""
    """Host name for other machines; empty: the listening host."""
    expect_slots: int = 0
    """Least number of slots to plan jobs for, as workers may join after the first submission."""
    session_seconds: float = 60.0
    """Time without a watch after which a session is ended, unless it is kept."""
    kept_seconds: float = 30 * 86_400.0
    """Time for which plans, logs and plugins of ended jobs are kept."""
    metrics: str = ""
    """HOST:PORT of the metrics; empty: no metrics."""
    fleet: FleetOptions | None = None
    ready_fd: int | None = None
    lifeline_fd: int | None = None
