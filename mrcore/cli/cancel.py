"""`mrcore cancel`: stop a job."""

from __future__ import annotations

import click

from mrcore.cli import base, places
from mrcore.client.client import MasterClient
from mrcore.errors import UsageError
from mrcore.model.snapshots import job_json


@base.command()
@click.argument("job_id", type=base.JOB, metavar="JOB")
@click.option("--reason", default="", help="Reason to record with the job.")
@base.cluster_options
@base.json_option
def command(
    job_id: str,
    reason: str,
    master: str | None,
    state: str | None,
    credentials: str | None,
    as_json: bool,
) -> None:
    """Stop a job: kill its tasks and discard its output."""
    if places.names_cluster(master, state, credentials):
        found = places.cluster(master, state, credentials)
    else:
        live = places.live_master(places.find_run(job_id))
        if live is None:
            raise UsageError(f"The embedded run of {job_id} has ended and cannot be cancelled.")
        found = live
    with MasterClient(found) as client:
        job = client.cancel(job_id, reason)
    if as_json:
        base.print_json(job_json(job))
    else:
        click.echo(f"{job.job_id}: {job.state}")
