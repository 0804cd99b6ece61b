"""`mrcore logs`: print the output of user code."""

from __future__ import annotations

from collections.abc import Mapping

import click

from mrcore.cli import base, followed, places
from mrcore.client.client import MasterClient
from mrcore.errors import UnknownJobError, UsageError
from mrcore.model import object_names
from mrcore.model.ids import AttemptNumber
from mrcore.model.snapshots import AttemptLog
from mrcore.model.stages import parse_task_name, task_name
from mrcore.storage.registry import storage_for

DEFAULT_TAIL_BYTES = 65_536
_STAGES_NAMED = 5
"""Number of stages whose tasks an error names."""


@base.command()
@click.argument("job_id", type=base.JOB, metavar="JOB")
@click.option("--task", metavar="TASK", help="Show only this task, e.g. map-00003.")
@click.option("--attempt", metavar="E.N", default="", help="Show only this attempt, e.g. 5.2.")
@click.option(
    "--tail",
    "tail_bytes",
    type=base.SIZE,
    metavar="SIZE",
    default="64KiB",
    show_default=True,
    help="Show at most this much of each log's end.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is printed until the end.")
@base.cluster_options
@base.json_option
def command(
    job_id: str,
    task: str | None,
    attempt: str,
    tail_bytes: int,
    follow: bool,
    master: str | None,
    state: str | None,
    credentials: str | None,
    as_json: bool,
) -> None:
    """Print the output of a job's attempts: stdout, stderr and logging.

    Without --master, show an embedded run on this machine. Its logs are kept for seven days.
    """
    if attempt:
        _check_attempt(attempt, task)
    if follow and as_json:
        raise UsageError("--follow prints text as it comes, and --json a whole. Leave one out.")
    stage, index = "", 0
    if task is not None:
        stage, index = _find_task(task, job_id, master, state, credentials)
    on_cluster = places.names_cluster(master, state, credentials)
    wanted = followed.Wanted(job_id, task, stage, index, attempt, tail_bytes)
    if follow:
        if on_cluster:
            with places.connected(master, state, credentials) as client:
                followed.follow_cluster(wanted, client)
        else:
            followed.follow_run(wanted, lambda: _look(wanted, followed.READ_BYTES))
        return
    if on_cluster:
        with MasterClient(places.cluster(master, state, credentials)) as client:
            logs = followed.read(client, wanted, tail_bytes)
    else:
        logs = _look(wanted, tail_bytes)
    if attempt and not logs:
        raise UsageError(
            f"No log for {task}@{attempt} of {job_id}: it printed nothing or is still running."
        )
    if as_json:
        base.print_json(
            [
                {
                    "attempt": log.attempt,
                    "size_bytes": log.size_bytes,
                    "text": log.text.decode("utf-8", "replace"),
                }
                for log in logs
            ]
        )
        return
    if not logs:
        base.note(f"nothing was printed by {task or 'the tasks of ' + job_id}.")
    for log in logs:
        _print_log(log, with_header=len(logs) > 1)


def _find_task(
    task: str, job_id: str, master: str | None, state: str | None, credentials: str | None
) -> tuple[str, int]:
    """Return the name of a task's stage, and its index; raise UsageError if the job lacks it."""
    parsed = parse_task_name(task)
    try:
        job = places.find_job(job_id, master, state, credentials)
    except UnknownJobError:
        if parsed is not None:
            raise
        raise UsageError(
            f"{task!r} is not a task. Write it as map-00003 or reduce-00000."
        ) from None
    tasks = {stage.name: stage.tasks for stage in job.stages}
    if parsed is not None and parsed[1] < tasks.get(parsed[0], 0):
        return parsed
    raise UsageError(f"{task!r} is not a task of {job_id}. {_tasks_text(tasks)}")


def _tasks_text(stages: Mapping[str, int]) -> str:
    """Return the names of a job's tasks in a sentence, given the number of tasks by stage."""
    ranges = [
        task_name(name, 0) + (f" to {task_name(name, count - 1)}" if count > 1 else "")
        for name, count in stages.items()
        if count
    ]
    if not ranges:
        return "It has no tasks: see `mrcore show`."
    more = len(ranges) - _STAGES_NAMED
    rest = f" and those of {more:,} later stage{'s'[: more > 1]}" if more > 0 else ""
    return f"Its tasks are {', '.join(ranges[:_STAGES_NAMED])}{rest}."


def _check_attempt(attempt: str, task: str | None) -> None:
    try:
        AttemptNumber.parse(attempt)
    except ValueError:
        raise UsageError(f"{attempt!r} is not an attempt. Write it as 5.2.") from None
    if task is None:
        raise UsageError("--attempt needs --task. Add it, e.g. --task map-00003.")


def _look(wanted: followed.Wanted, tail_bytes: int) -> tuple[AttemptLog, ...]:
    """Read the log objects of an embedded run; its master has usually ended."""
    record = places.find_run(wanted.job_id)
    prefix = object_names.log_prefix(record.state_uri, wanted.job_id)
    if wanted.stage:
        number = f"{wanted.attempt}.log" if wanted.attempt else ""
        prefix += f"{task_name(wanted.stage, wanted.index)}@{number}"
    storage = storage_for(prefix)
    found = []
    for info in sorted(storage.list(prefix), key=lambda info: info.modified_seconds):
        if info.uri.endswith(object_names.PARTIAL):
            continue
        start = max(0, info.size_bytes - tail_bytes)
        name = info.uri.rpartition("/")[2].removesuffix(".log")
        text = storage.read(info.uri, start)
        found.append(AttemptLog(attempt=name, text=text, size_bytes=info.size_bytes))
    return tuple(found)


def _print_log(log: AttemptLog, *, with_header: bool) -> None:
    if with_header:
        click.echo(f"==> {log.attempt} <==")
    if log.size_bytes > len(log.text):
        click.echo(f"… {log.size_bytes - len(log.text):,} earlier bytes; show more with --tail")
    click.echo(log.text, nl=not log.text.endswith(b"\n"))
