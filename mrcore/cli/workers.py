"""`mrcore workers`: list the workers of a cluster."""

from __future__ import annotations

import click
import msgspec

from mrcore.cli import base, places, tables
from mrcore.cli.fleet_text import fleet_lines
from mrcore.model.snapshots import WorkerView
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
            _cpus(worker),
            "draining" if worker.draining else "working" if worker.running else "waiting",
            show_duration(worker.silent_seconds),
            ", ".join(worker.labels),
            worker.note,
        )
        for worker in found
    ]
    columns = ("WORKER", "HOST", "PID", "SLOTS", "RUNNING", "QUEUED", "CPUS", "STATE", "HEARD")
    tables.print_table((*columns, "LABELS", "NOTE"), rows)
    # On stderr, so that stdout has nothing but the table.
    for line in fleet_lines(fleet) if fleet is not None else ():
        click.echo(line, err=True)


def _cpus(worker: WorkerView) -> str:
    """Return the CPUs of a worker, with those that its tasks have reserved."""
    taken = f"{worker.cpus_reserved:g} of " if worker.cpus_reserved else ""
    return f"{taken}{worker.cpus:g}"
