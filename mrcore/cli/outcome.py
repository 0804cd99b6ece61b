"""Report of a job's end: JSON on stdout for programs, sentences on stderr for people."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

import click

from mrcore.cli import base
from mrcore.client.pace import failed_attempts, failed_words
from mrcore.errors import MrcoreError
from mrcore.model import object_names
from mrcore.model.job import JobState
from mrcore.model.skipping import is_about_allowance
from mrcore.model.snapshots import JobView, job_json
from mrcore.model.task import FailureKind
from mrcore.util.units import show_duration, show_exact, show_number


def tell(job: JobView, *, as_json: bool, hints: Iterable[str] = ()) -> int:
    """Report how a job ended and return its exit code.

    `hints` are lines that help to find out why the user's code failed.
    """
    if as_json:
        base.print_end_as_json(job_json(job))
    if job.state is JobState.SUCCEEDED:
        if not as_json:
            _tell_success(job)
        return 0
    _tell_failure(job, hints)
    return 1


def _tell_success(job: JobView) -> None:
    place = object_names.shown(job.output_uri)
    records = job.stages[0].records if job.stages else 0
    ending = f", {failed_words(job)}." if failed_attempts(job) else "."
    base.note(
        f"done in {show_duration(job.elapsed_seconds)}: {show_number(records, 'record')}, "
        f"{_parts(job)} in {place}{ending}"
    )
    if job.bad_records:
        skipped = show_exact(job.bad_records, "bad record")
        base.note(f"{skipped} skipped; see {shlex.quote(f'{place}/_bad')}.")
    if _emitted_nothing(job):
        base.note("map emitted no pairs, so the output is empty.")
    for name, count in sorted(job.counters.items()):
        base.note(f"  {name} = {count:,}")
    base.note(f"print it with: mrcore cat {shlex.quote(place)}")


def _parts(job: JobView) -> str:
    """Return the number of parts in words; that of a partitioned output is in its receipt."""
    if not job.partition_by:
        return show_number(job.stages[-1].tasks if job.stages else 0, "part")
    from mrcore.output.receipt import read_receipt

    try:
        return show_number(len(read_receipt(job.output_uri).parts), "part")
    except MrcoreError:  # the bucket of a cluster need not be readable here
        return f"parts by {', '.join(job.partition_by)}"


def _emitted_nothing(job: JobView) -> bool:
    """Return whether records were read but none emitted: a `yield` may be missing."""
    stages = job.stages
    return len(stages) > 1 and stages[0].records > 0 and stages[-1].records == 0


def _tell_failure(job: JobView, hints: Iterable[str]) -> None:
    failure = job.failure
    traceback = failure.traceback.rstrip() if failure is not None else ""
    if traceback:
        click.echo(traceback, err=True)
    base.note(job.message or (failure.message if failure else f"the job was {job.state}."))
    too_many_bad = is_about_allowance(job.message)
    users = too_many_bad or (failure is not None and failure.kind is FailureKind.USER)
    for hint in hints if users else ():
        base.note(hint)
