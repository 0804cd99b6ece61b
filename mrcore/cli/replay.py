"""`mrcore replay`: run one task of a job here."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mrcore.cli import base, places
from mrcore.client.client import MasterClient
from mrcore.client.request import folder_uri
from mrcore.client.versions import versions
from mrcore.errors import UsageError
from mrcore.model.ids import AttemptNumber
from mrcore.model.remains import TaskAtHand
from mrcore.model.stages import parse_task_name, stage_names, stages_of
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput, TaskResult
from mrcore.util.units import show_duration, show_number

if TYPE_CHECKING:
    from mrcore.plugin.bundle import Bundle


@base.command()
@click.argument("job_id", type=base.JOB, metavar="JOB")
@click.argument("task", metavar="TASK")
@click.option("--pdb", is_flag=True, help="Open the debugger where your code raises.")
@click.option("--attempt", metavar="E.N", help="Compare with this failed attempt.  [the newest]")
@click.option(
    "--plugin", metavar="PLUGIN", type=base.FILE, help="Run this code in place of the job's."
)
@click.option(
    "--files",
    "files",
    multiple=True,
    metavar="F",
    help="Side file for the code of --plugin. Repeatable.",
)
@base.cluster_options
def command(
    job_id: str,
    task: str,
    pdb: bool,
    attempt: str | None,
    plugin: str | None,
    files: tuple[str, ...],
    master: str | None,
    state: str | None,
    credentials: str | None,
) -> int:
    """Run one task of a job here, on what it has read, and change nothing.

    \b
      mrcore replay wc-20261121-022301-k3f9qz map-00003 --pdb
      mrcore replay wc-20261121-022301-k3f9qz reduce-00000 --plugin mended.py

    Your code runs in this process, so its prints appear. A job that failed or was cancelled needs
    only its store (--state). Without --state and --master, an embedded run on this machine is
    meant. Exit codes: 0 the task succeeds here, 1 it fails.
    """
    from mrcore.engine import replay

    parsed = parse_task_name(task)
    if parsed is None:
        raise UsageError(f"{task!r} is not a task. Write it as map-00003 or reduce-00000.")
    if files and plugin is None:
        raise UsageError("--files goes with the code of --plugin. Add it, or leave out --files.")
    at = _find(job_id, *parsed, master, state, credentials)
    number = _failed_attempt(task, attempt, at)
    mended = None if plugin is None else _bundle(plugin, files)
    _note_versions(at)
    _prepare_process()
    failure = at.last_failure if number in at.failed[-1:] else None
    if failure is not None and failure.died:
        base.note(f"attempt {number} died, and this process may die of the same: {failure.message}")
    stage = stage_names(each.reads for each in stages_of(at.spec)).index(parsed[0])
    result = replay.replay(
        at, job_id, stage, parsed[1], attempt=number, mended=mended, post_mortem=pdb
    )
    code = _tell(task, at, result, number, failure)
    if isinstance(result, TaskFailure) and result.kind is FailureKind.LOST_INPUT:
        base.note(f"make it again, and go on from there: mrcore resume {job_id}")
    return code


def _find(
    job_id: str,
    stage: str,
    index: int,
    master: str | None,
    state: str | None,
    credentials: str | None,
) -> TaskAtHand:
    """Return the task: from the store if that has the job's remains, else from a master."""
    from mrcore.engine import replay

    record = None
    if state is not None:
        state_uri = folder_uri(state, base.here())
    elif not places.names_cluster(master, state, credentials):
        record = places.find_run(job_id)
        state_uri = record.state_uri
    else:
        state_uri = ""
    if state_uri:
        found = replay.from_remains(state_uri, job_id, stage, index)
        if found is not None:
            return found
    if record is None:
        with places.connected(master, state, credentials) as client:
            return _of_master(client, job_id, stage, index)
    live = places.live_master(record)
    if live is not None:
        with MasterClient(live) as client:
            return _of_master(client, job_id, stage, index)
    if record.spec is None:
        raise replay.TaskGoneError(
            f"{job_id} ran in one process, which keeps nothing to replay. Run its command again "
            "with --engine inline --pdb."
        )
    if not record.job.state.final:
        raise replay.TaskGoneError(
            f"The processes of {job_id} were killed before it ended. Run the same command again to "
            "continue, or replay a task when it has ended."
        )
    return replay.from_plan(record.state_uri, job_id, record.spec, stage, index)


def _of_master(client: MasterClient, job_id: str, stage: str, index: int) -> TaskAtHand:
    from mrcore.engine import replay

    at = client.get_task(job_id, stage, index)
    if at.work is not None:
        return at
    if not at.job_state.final:
        raise replay.TaskGoneError(
            f"{stage}-{index:05d} of {job_id} cannot be replayed: {at.missing}. Look at its log "
            "with `mrcore logs`."
        )
    found = replay.from_remains(at.state_uri, job_id, stage, index)
    return found or replay.from_plan(at.state_uri, job_id, at.spec, stage, index)


def _failed_attempt(task: str, attempt: str | None, at: TaskAtHand) -> AttemptNumber | None:
    """Return the attempt to compare with; None where none has failed."""
    if attempt is None:
        return at.failed[-1] if at.failed else None
    try:
        number = AttemptNumber.parse(attempt)
    except ValueError:
        raise UsageError(f"{attempt!r} is not an attempt. Write it as 5.2.") from None
    if number not in at.failed:
        known = ", ".join(map(str, at.failed)) or "none"
        raise UsageError(
            f"No attempt {attempt} of {task} is known to have failed ({known}). Leave out "
            "--attempt, or name one of those."
        )
    return number


def _bundle(plugin: str, files: Sequence[str]) -> Bundle:
    from mrcore.plugin.bundle import build_bundle

    return build_bundle(plugin, files, base.here())


def _note_versions(at: TaskAtHand) -> None:
    then, now = at.spec.versions, versions()
    if then != now:
        base.note(
            f"the job ran with Python {then.python}, mrcore {then.mrcore} and pyarrow "
            f"{then.pyarrow}, and this is Python {now.python}, mrcore {now.mrcore} and pyarrow "
            f"{now.pyarrow}."
        )


def _prepare_process() -> None:
    """Set up what a worker's child has: a stack trace of crashes, and logging to stderr."""
    with contextlib.suppress(OSError):  # stderr need not be a file
        faulthandler.enable()
    shape = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=shape)


def _tell(
    task: str,
    at: TaskAtHand,
    result: TaskResult,
    number: AttemptNumber | None,
    former: TaskFailure | None,
) -> int:
    """Report how the task ended here, beside how it failed in the job; return the exit code."""
    if isinstance(result, TaskOutput):
        if at.spec.session is not None and result.records_out < result.records_in:
            failing = result.records_in - result.records_out
            base.note(f"{failing:,} of the {result.records_in:,} items of {task} fail here.")
            return 1
        though = "" if number is None else f", though attempt {number} failed"
        base.note(
            f"{task} succeeds here{though}: {show_number(result.records_in, 'record')} read, "
            f"{result.records_out:,} emitted, in {show_duration(result.elapsed_seconds)}."
        )
        for name, count in sorted(result.counters.items()):
            base.note(f"  {name} = {count:,}")
        return 0
    if result.traceback:
        click.echo(result.traceback.rstrip(), err=True)
    if result.kind is FailureKind.LOST_INPUT:
        base.note(f"{task} cannot run here: {result.message}")
    elif former is None:
        base.note(f"{task} fails here: {result.message}")
    elif _same(result, former):
        base.note(f"{task} fails here as in attempt {number}: {result.message}")
    else:
        base.note(f"{task} fails here otherwise than in attempt {number}: {result.message}")
        base.note(f"attempt {number}: {former.message}")
    return 1


def _same(here: TaskFailure, former: TaskFailure) -> bool:
    if here.fingerprint and former.fingerprint:
        return here.fingerprint == former.fingerprint
    return here.message == former.message
