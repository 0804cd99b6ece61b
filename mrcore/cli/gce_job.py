"""Checks of a job before VMs are created for it.

    python -P -m mrcore.cli.gce_job PLUGIN INPUT... -o OUT [OPTION...]

Prints `field=value` lines: the output, the places read and written, and `error=SENTENCE` for each
reason why the job cannot work. Lists the inputs; changes nothing.
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
from mrcore.model.job import Input, JobDraft
from mrcore.output import claim


@base.command()
@job_options.job_options
@click.option("--home", metavar="URI", help="Home of the cluster that will run the job.")
def command(home: str | None, **options: Any) -> None:
    """Check a job and print the facts that the runner needs."""
    for line in facts(job_options.take_request(options), home):
        click.echo(line)


def facts(request: JobRequest, home: str | None) -> Iterator[str]:
    """Yield the lines; make every check, so that all problems are reported at once.

    A job that already runs on the cluster at `home` is reported as `running`, not as an error.
    """
    try:
        draft = prepare(request, look=False)
    except UsageError as error:
        yield _error(error)
        return
    spec = draft.job
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
            f"error={place} is a file of this machine, which the VMs do not see. Copy inputs to a "
            "bucket (`gcloud storage cp -r`), and use gs://BUCKET/FOLDER for output and --temp."
        )
    try:
        load_plugin(draft)
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
    """Return the common prefix of an input's file names: a pattern up to its first wildcard."""
    pattern = given.uri[len(given.base_uri) :]
    return given.base_uri + re.split(r"[*?[]", pattern, maxsplit=1)[0]


def _sizes(inputs: tuple[Input, ...], output_uri: str) -> Iterator[str]:
    from mrcore.records.inputs import expand

    files = expand(inputs, output_uri)
    yield f"input_files={len(files)}"
    yield f"input_bytes={sum(file.size_bytes for file in files)}"


def _claimed(spec: JobDraft, home: str | None) -> Iterator[str]:
    """Yield the job of this cluster that holds the output; raise UsageError for another holder."""
    held = claim.read_claim(spec.output_uri)
    if held is not None and home is not None and held.state_uri == f"{home}/state":
        yield f"running={held.job_id}"
        return
    claim.check_output(spec)
    if held is not None and not claim.is_free(held):
        where = object_names.shown(spec.output_uri)
        raise UsageError(
            f"The output {where} is claimed by job {held.job_id} of {held.state_uri}. Wait for it, "
            f"or free it with `mrcore gc {where} --release` if that cluster is gone."
        )


def _error(error: MrcoreError) -> str:
    """Return the error as one line; print the user's traceback, if any, on stderr."""
    sentence, _, traceback = str(error).partition("\n")
    if traceback.strip():
        click.echo(traceback.rstrip(), err=True)
    return f"error={sentence}"


def main() -> int:
    """Run the command and return the exit code; report bad options in one sentence."""
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
