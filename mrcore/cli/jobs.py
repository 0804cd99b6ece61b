"""`mrcore jobs`: list jobs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import click

from mrcore.cli import base, places, tables
from mrcore.engine import history
from mrcore.model import object_names
from mrcore.model.job import JobState
from mrcore.model.snapshots import JobView, job_json
from mrcore.util.units import show_duration


@base.command()
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    default=20,
    show_default=True,
    help="Show at most N jobs.",
)
@base.cluster_options
@base.json_option
def command(
    limit: int, master: str | None, state: str | None, credentials: str | None, as_json: bool
) -> None:
    """List the jobs of a cluster, or the embedded runs on this machine, newest first."""
    if places.names_cluster(master, state, credentials):
        with places.connected(master, state, credentials) as client:
            found = [(job.state.value, job) for job in itertools.islice(client.list(), limit)]
    else:
        found = list(itertools.islice(_embedded(), limit))
    if as_json:
        base.print_json([{**job_json(job), "state": shown} for shown, job in found])
        return
    rows = [
        (
            job.job_id,
            job.note if job.state is JobState.WAITING else shown,
            tables.moment(job.submitted_seconds),
            show_duration(job.elapsed_seconds) if job.ended_seconds else "-",
            object_names.shown(job.output_uri) or "-",
        )
        for shown, job in found
    ]
    tables.print_table(("JOB", "STATE", "SUBMITTED", "TOOK", "OUTPUT"), rows)


def _embedded() -> Iterator[tuple[str, JobView]]:
    for record in history.past_runs():
        shown = places.shown_state(record)
        yield shown, places.past_view(record) if shown == places.ABANDONED else record.job
