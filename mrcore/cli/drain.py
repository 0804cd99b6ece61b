"""`mrcore drain`: ask a worker to leave."""

from __future__ import annotations

import click
import msgspec

from mrcore.cli import base, places


@base.command()
@click.argument("worker_id", metavar="WORKER")
@base.cluster_options
@base.json_option
def command(
    worker_id: str, master: str | None, state: str | None, credentials: str | None, as_json: bool
) -> None:
    """Ask a worker to finish its tasks and leave. Jobs go on elsewhere."""
    with places.connected(master, state, credentials) as client:
        worker = client.drain(worker_id)
    if as_json:
        base.print_json(msgspec.to_builtins(worker))
    else:
        click.echo(f"{worker.worker_id} is draining: {worker.running} attempts are still running")
