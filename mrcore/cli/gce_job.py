"""What the runner wants to know of a job before it makes VMs for it.

    python -P -m mrcore.cli.gce_job PLUGIN INPUT... -o OUT [OPTION...]

Prints `field=value` lines: the output, what is read and written, and `error=SENTENCE` for each
reason why the job cannot work. Reads the inputs' names, and changes nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import click

from mrcore.cli import base, job_options
from mrcore.client.request import JobRequest, load_plugin, local_places, prepare
from mrcore.errors import MrcoreError, UsageError
from mrcore.gce.record import check_outputs
from mrcore.model import object_names
from mrcore.model.job import Input, JobSpec
from mrcore.output import claim


@base.command()
@job_options.job_options
@click.option("--home", metavar="URI", help="Home of the cluster that is to run it.")
def command(home: str | None, **options: Any) -> None:
    """Check a job; print what the runner has to know of it."""
    for line in facts(job_options.take_request(options), home):
        click.echo(line)


def facts(request: JobRequest, home: str | None) -> Iterator[str]:
    """Yield the lines; every check is made, so that all that is wrong is told at once.

    A job that the cluster at `home` runs already is told as `running`, and is no error.
    """
    try:
        prepared = prepare(request, look=False)
    except UsageError as error:
        yield _error(error)
        return
    spec = prepared.spec
    yield f"output={object_names.shown(spec.output_uri)}"
    for given in spec.inputs:
        yield f"input={_start(given)}"
    yield f"written={spec.output_uri}/"
    if spec.map_only or spec.reduces:
        yield f"reduces={spec.reduces}"
    if spec.temp_uri is not None:
        yield f"temporary={spec.temp_uri}/"
    if home is not None:
        try:
            check_outputs(home, filter(None, (spec.output_uri, spec.temp_uri)))
        except UsageError as error:
            yield _error(error)
    places = local_places(spec)
    for place in places:
        yield (
            f"error={place} is a file of this machine, which the VMs do not see: copy inputs to a "
            "bucket (`gcloud storage cp -r`), and let output and --temp be gs://BUCKET/FOLDER."
        )
    try:
        load_plugin(prepared)
    except MrcoreError as error:
        yield _error(error)
    if places:
        return
    for found in (_claimed(spec, home), _sizes(spec.inputs, spec.output_uri)):
        try:
            yield from found
        except MrcoreError as error:
            yield _error(error)


def _start(given: Input) -> str:
    """Return how the names of all files of an input begin: a pattern up to its first wildcard."""
    pattern = given.uri[len(given.base_uri) :]
    return given.base_uri + re.split(r"[*?[]", pattern, maxsplit=1)[0]


def _sizes(inputs: tuple[Input, ...], output_uri: str) -> Iterator[str]:
    from mrcore.records.inputs import expand

    files = expand(inputs, output_uri)
    yield f"input_files={len(files)}"
    yield f"input_bytes={sum(file.size_bytes for file in files)}"


def _claimed(spec: JobSpec, home: str | None) -> Iterator[str]:
    """Yield the job of this very cluster that holds the output; raise UsageError for any other."""
    held = claim.read_claim(spec.output_uri)
    if held is not None and home is not None and held.state_uri == f"{home}/state":
        yield f"running={held.job_id}"
        return
    claim.check_output(spec)
    if held is not None and not claim.is_free(held):
        where = object_names.shown(spec.output_uri)
        raise UsageError(
            f"The output {where} is taken by job {held.job_id} of {held.state_uri}: wait for it, "
            f"or free it with `mrcore gc {where} --release` when that cluster is gone."
        )


def _error(error: MrcoreError) -> str:
    """Return the sentence; the user's own traceback, which follows it, goes to stderr."""
    sentence, _, traceback = str(error).partition("\n")
    if traceback.strip():
        click.echo(traceback.rstrip(), err=True)
    return f"error={sentence}"


def main() -> int:
    """Run the command; return the exit code. What is wrong with the options is one sentence."""
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        message = error.format_message().rstrip(".")
        click.echo(
            f"mrcore gce: {message}; see mrcore gce run --help and mrcore run --help.", err=True
        )
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
