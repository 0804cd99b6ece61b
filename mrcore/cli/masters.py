"""`mrcore masters`: list the masters of a cluster."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mrcore.cli import base, places, tables
from mrcore.client.request import folder_uri
from mrcore.model.master import MasterView
from mrcore.util.clock import SYSTEM
from mrcore.util.units import show_duration


@base.command()
@base.cluster_options
@base.json_option
def command(master: str | None, state: str | None, credentials: str | None, as_json: bool) -> None:
    """List the masters of a cluster: the leader, and those that stand by.

    With --state alone they are read there, so that no master has to answer.
    """
    found = _found(master, state, credentials)
    if as_json:
        base.print_json([msgspec.to_builtins(one) for one in found])
        return
    now = SYSTEM.wall()
    rows = [
        (
            one.address,
            one.role.value,
            str(one.epoch),
            f"{one.entry:,}",
            f"{one.behind:,}",
            one.host or "-",
            str(one.process_id or "-"),
            show_duration(max(0.0, now - one.started_at)),
            show_duration(one.heard_seconds),
        )
        for one in found
    ]
    columns = ("ADDRESS", "ROLE", "EPOCH", "ENTRY", "BEHIND", "HOST", "PID", "UP", "HEARD")
    tables.print_table(columns, rows)


def _found(
    master: str | None, state: str | None, credentials: str | None
) -> tuple[MasterView, ...]:
    if state is None or master is not None or credentials is not None:
        with places.connected(master, state, credentials) as client:
            return client.masters()
    from mrcore.rpc.masters import masters_of
    from mrcore.storage.registry import storage_for

    uri = folder_uri(state, Path.cwd())
    return masters_of(storage_for(uri), uri, SYSTEM.wall())
