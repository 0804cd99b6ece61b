"""`mrcore submit`: start a job on a cluster and return."""

from __future__ import annotations

from typing import Any

import click

from mrcore.cli import base, job_options
from mrcore.engine import api
from mrcore.model.snapshots import job_json


@base.command()
@job_options.job_options
@base.cluster_options
@base.json_option
def command(**options: Any) -> None:
    """Start a job on a cluster and print its id.

    Takes the arguments of `mrcore run`. Name the cluster with --master or --state, and follow the
    job with `mrcore watch`.
    """
    request = job_options.take_request(options)
    job_options.note_doubles(request, base.note)
    found = api.find_cluster(options["master"], options["state"], options["credentials"])
    job = api.submit(request, found, note=base.note)
    if options["as_json"]:
        base.print_json(job_json(job))
    else:
        click.echo(job.job_id)
