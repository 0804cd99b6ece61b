"""`mrcore watch`: follow a job until it ends."""

from __future__ import annotations

import click

from mrcore.cli import base, outcome, places, progress
from mrcore.client.client import MasterClient
from mrcore.client.follow import follow
from mrcore.errors import JobFailedError
from mrcore.model.snapshots import JobView


@base.command()
@click.argument("job_id", type=base.JOB, metavar="JOB")
@base.cluster_options
@base.json_option
def command(
    job_id: str, master: str | None, state: str | None, credentials: str | None, as_json: bool
) -> int:
    """Follow a job until it ends. Ctrl-C does not cancel it.

    Exit codes: 0 if the job succeeds, 1 if it fails or is cancelled.
    """
    job = _watch(job_id, master, state, credentials)
    return outcome.tell(job, as_json=as_json)


def _watch(job_id: str, master: str | None, state: str | None, credentials: str | None) -> JobView:
    if places.names_cluster(master, state, credentials):
        with places.connected(master, state, credentials) as client:
            return _follow(client, job_id)
    record = places.find_run(job_id)
    live = places.live_master(record)
    if live is None:
        if not record.job.state.final:
            raise JobFailedError(
                f"The processes of {job_id} were killed before it ended. Run the same command "
                "again to continue."
            )
        return record.job
    with MasterClient(live) as client:
        return _follow(client, job_id)


def _follow(client: MasterClient, job_id: str) -> JobView:
    shown = progress.make_progress()
    try:
        return follow(client, job_id, shown, cancel_on_interrupt=False)
    finally:
        shown.close()
