"""`mrcore gc`: remove leftovers of ended jobs."""

from __future__ import annotations

from collections import defaultdict

import click

from mrcore.cli import base
from mrcore.cli.state_leftovers import state_leftovers
from mrcore.engine import history
from mrcore.errors import UsageError
from mrcore.model import object_names
from mrcore.model.ids import is_job_id
from mrcore.output import claim
from mrcore.output.receipt import is_torn
from mrcore.storage.base import ObjectInfo
from mrcore.storage.places import NameKind
from mrcore.storage.registry import storage_for
from mrcore.util.clock import SYSTEM
from mrcore.util.units import show_duration, show_number, show_size


@base.command()
@click.argument("output", type=base.FOLDER, metavar="[OUT]", required=False)
@click.option("--release", is_flag=True, help="Free OUT, whichever job has claimed it.")
@click.option(
    "--temp",
    type=base.FOLDER,
    metavar="URI",
    help="A --temp of earlier jobs: remove temporaries there, including those of other outputs.",
)
@click.option(
    "--older-than",
    "older_seconds",
    type=base.DURATION,
    metavar="TIME",
    default="7d",
    show_default=True,
    help="Keep temporaries of jobs active within TIME. Under --temp this is the only protection "
    "for running jobs that write elsewhere.",
)
@click.option(
    "--state",
    type=base.FOLDER,
    metavar="URI",
    help="Show what is left in the state of a cluster; with --yes, remove it.",
)
@click.option("--yes", is_flag=True, help="Remove what --state shows.")
@click.option("--json", "as_json", is_flag=True, help="Print what --state shows as a JSON object.")
def command(
    output: str | None,
    release: bool,
    temp: str | None,
    older_seconds: float,
    state: str | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Remove leftovers of ended jobs.

    Without OUT, remove the states and logs of embedded runs on this machine. With OUT, remove
    temporaries of failed jobs below OUT/_tmp (and --temp), and a claim whose owner is gone.
    The output itself is kept. So is a job that was killed while publishing, because it can still
    be finished.

    With --state, show what jobs have left in the state of a cluster: those that ended longer than
    TIME ago, and forgotten ones. So are entries of the journal that snapshots stand for. Add --yes
    to remove them. A master may run meanwhile.
    """
    if state is not None:
        if output is not None or release or temp:
            raise click.UsageError("--state goes without OUT, --release and --temp")
        return state_leftovers(base.folder_uri(state), older_seconds, yes=yes, as_json=as_json)
    if yes or as_json:
        raise click.UsageError("--yes and --json need --state")
    _remove_of_output(output, release, temp, older_seconds)
    return 0


def _remove_of_output(
    output: str | None, release: bool, temp: str | None, older_seconds: float
) -> None:
    if output is None:
        if release or temp:
            raise click.UsageError("--release and --temp need OUT")
        removed = history.sweep(older_seconds, limit=1_000_000)
        click.echo(f"removed {show_number(removed, 'embedded run')}")
        return
    output_uri = base.folder_uri(output)
    temp_uri = None if temp is None else base.folder_uri(temp)
    _check_folder(output_uri if temp_uri is None else temp_uri)  # OUT may be gone before its --temp
    living = _settle_claim(output_uri, release=release)
    prefixes = [f"{output_uri}/_tmp/"]
    if temp_uri is not None:
        prefixes.append(f"{temp_uri}/")
    before_seconds = SYSTEM.wall() - older_seconds
    counts = [_remove_temporaries(prefix, living, before_seconds) for prefix in prefixes]
    storage = storage_for(output_uri)
    storage.prune(f"{output_uri}/_tmp")
    storage.prune(output_uri)
    kept = sum(kept for _, kept in counts)
    if kept:
        click.echo(
            f"kept temporaries of {show_number(kept, 'job')} active within the last "
            f"{show_duration(older_seconds)}; remove them too with --older-than 0s"
        )
    elif not any(removed for removed, _ in counts):
        click.echo(f"no temporaries to remove in {object_names.shown(output_uri)}")


def _check_folder(uri: str) -> None:
    """Raise UsageError if a local folder does not exist; object stores have no folders."""
    if storage_for(uri).kind(uri) not in (NameKind.FOLDER, NameKind.UNKNOWN):
        raise UsageError(
            f"The folder {object_names.shown(uri)} does not exist. Name one that a job wrote to."
        )


def _settle_claim(output_uri: str, *, release: bool) -> str | None:
    """Free the output if asked to, or if its owner is gone; return the job that still holds it."""
    held = claim.read_claim(output_uri)
    if held is not None and not release and _can_be_finished(output_uri, held):
        click.echo(
            f"kept {held.job_id}, which has published part of its output; run its command again "
            "to finish it, or add --release to abandon it"
        )
        return held.job_id
    if release or (held is not None and claim.is_free(held)):
        if claim.force_release(output_uri):
            click.echo(f"freed {object_names.shown(output_uri)}")
        return None
    return None if held is None else held.job_id


def _can_be_finished(output_uri: str, held: claim.Claim) -> bool:
    return is_torn(output_uri, held.job_id) and claim.may_finish(held)


def _remove_temporaries(prefix: str, living: str | None, before_seconds: float) -> tuple[int, int]:
    """Remove folders of jobs below `prefix` that did not change after `before_seconds`.

    Returns the number of removed objects, and of ended jobs whose objects were kept.
    """
    total = kept = 0
    storage = storage_for(prefix)
    jobs: dict[str, list[ObjectInfo]] = defaultdict(list)
    for info in storage.list(prefix):
        job_id, slash, _ = info.uri[len(prefix) :].partition("/")
        if slash and is_job_id(job_id) and job_id != living:
            jobs[job_id].append(info)
    for job_id, infos in sorted(jobs.items()):
        if max(info.modified_seconds for info in infos) > before_seconds:
            kept += 1
            continue
        removed = sum(storage.delete(info.uri, generation=info.generation) for info in infos)
        total += removed
        size = show_size(sum(info.size_bytes for info in infos))
        storage.prune(f"{prefix}{job_id}", up_to=prefix, abandoned=True)
        objects = show_number(removed, "temporary object")
        click.echo(f"removed {objects} of {job_id}, {size}")
    return total, kept
