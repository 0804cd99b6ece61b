"""`mrcore workers`: list the workers of a cluster."""

from __future__ import annotations

import click
import msgspec

from mrcore.cli import base, places, tables
from mrcore.cli.fleet_text import fleet_lines
from mrcore.util.units import show_duration


@base.command()
@base.cluster_options
@base.json_option
def command(master: str | None, state: str | None, credentials: str | None, as_json: bool) -> None:
    """List the workers of a cluster."""
    with places.connected(master, state, credentials) as client:
        found = client.workers()
        fleet = client.fleet()
    if as_json:
        base.print_json([msgspec.to_builtins(worker) for worker in found])
        return
    rows = [
        (
            worker.worker_id,
            worker.host,
            str(worker.process_id),
            str(worker.slots),
            str(worker.running),
            str(worker.unstarted),
            "draining" if worker.draining else "working" if worker.running else "waiting",
            show_duration(worker.silent_seconds),
            worker.note,
        )
        for worker in found
    ]
    columns = ("WORKER", "HOST", "PID", "SLOTS", "RUNNING", "QUEUED", "STATE", "HEARD", "NOTE")
    tables.print_table(columns, rows)
    # On stderr, so that stdout has nothing but the table.
    for line in fleet_lines(fleet) if fleet is not None else ():
        click.echo(line, err=True)
