"""`mrcore show`: print one job in detail."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from mrcore.cli import base, places, progress, tables
from mrcore.cli.fleet_text import fleet_lines
from mrcore.client.client import MasterClient
from mrcore.cost.text import cost_line
from mrcore.model import object_names
from mrcore.model.job import JobState
from mrcore.model.snapshots import (
    AttemptCounts,
    FleetView,
    JobView,
    StageView,
    TaskView,
    cost_json,
    job_json,
)
from mrcore.util.units import show_count, show_duration, show_exact, show_number, show_size

_NO_OUTPUT = "none; the results went to the caller"
_SLOW_TASKS = 5
"""Number of slow tasks shown."""


@base.command()
@click.argument("job_id", type=base.JOB, metavar="JOB")
@click.option("--tasks", "with_tasks", is_flag=True, help="List every task with its history.")
@base.cluster_options
@base.json_option
def command(
    job_id: str,
    with_tasks: bool,
    master: str | None,
    state: str | None,
    credentials: str | None,
    as_json: bool,
) -> None:
    """Show a job's progress, counters, failures and slow tasks.

    Without --master, show an embedded run on this machine. Its tasks are shown only while it runs.
    """
    job, tasks, shown_state, fleet = _find(job_id, master, state, credentials)
    if as_json:
        found = {**job_json(job), "state": shown_state}
        if fleet is not None:
            found["fleet"] = {**msgspec.to_builtins(fleet), "cost": cost_json(fleet.cost)}
        if with_tasks:
            found["task_list"] = msgspec.to_builtins(tasks)
        base.print_json(found)
        return
    _print_job(job, shown_state, fleet)
    if with_tasks and not tasks:
        base.note("the history of the tasks ended with the embedded cluster; see `mrcore logs`.")
    elif with_tasks:
        _print_tasks(tasks)
    else:
        _print_slow(tasks)


def _find(
    job_id: str, master: str | None, state: str | None, credentials: str | None
) -> tuple[JobView, list[TaskView], str, FleetView | None]:
    if places.names_cluster(master, state, credentials):
        with places.connected(master, state, credentials) as client:
            job = client.get(job_id)
            return job, list(client.tasks(job_id)), job.state.value, client.fleet()
    record = places.find_run(job_id)
    live = places.live_master(record)
    if live is None:
        return places.past_view(record), [], places.shown_state(record), None
    with MasterClient(live) as client:
        job = client.get(job_id)
        return job, list(client.tasks(job_id)), job.state.value, None


def _print_job(job: JobView, shown_state: str, fleet: FleetView | None) -> None:
    click.echo(f"job        {job.job_id}")
    click.echo(f"state      {shown_state}{f' ({job.note})' if job.note else ''}")
    click.echo(f"output     {object_names.shown(job.output_uri) or _NO_OUTPUT}")
    if job.stages:  # the input is measured when the stages are planned
        limit = f", its first {show_number(job.limit, 'record')} only" if job.limit else ""
        click.echo(f"input      {show_size(job.input_bytes)}{limit}")
    click.echo(f"submitted  {tables.moment(job.submitted_seconds)}")
    if job.ended_seconds:
        ended, took = tables.moment(job.ended_seconds), show_duration(job.elapsed_seconds)
        click.echo(f"ended      {ended}, after {took}")
    click.echo(f"attempts   {_attempts(job.attempts, ended=job.state.final)}")
    if job.bad_records:
        # The lists are published with the output.
        is_there = job.output_uri and job.state is JobState.SUCCEEDED
        place = f", in {object_names.shown(job.output_uri)}/_bad" if is_there else ""
        click.echo(f"skipped    {show_exact(job.bad_records, 'bad record')}{place}")
    if job.cost is not None:
        click.echo(f"cost       {cost_line(job.cost)}")
    for line in fleet_lines(fleet) if fleet is not None else ():
        click.echo(line)
    if job.stages:
        _print_stages(job.stages)
        for stage in filter(lambda one: one.skew, job.stages):
            click.echo(f"\n{stage.skew}")
    if job.counters:
        click.echo()
        rows = [(name, f"{count:,}") for name, count in sorted(job.counters.items())]
        tables.print_table(("COUNTER", "VALUE"), rows)
    for failure in progress.FailureNews().of(job):
        click.echo()
        click.echo(progress.failure_line(failure))
        if failure.traceback:
            click.echo(failure.traceback.rstrip())
    if job.message:
        click.echo()
        click.echo(job.message)


def _print_stages(stages: Sequence[StageView]) -> None:
    click.echo()
    tables.print_table(
        (
            *("STAGE", "TASKS", "IDLE", "RUNNING", "COMPLETED", "ATTEMPTS"),
            *("RECORDS IN", "READ", "RECORDS OUT", "WRITTEN"),
        ),
        [
            (
                stage.name,
                str(stage.tasks),
                str(stage.idle),
                str(stage.in_progress),
                str(stage.completed),
                str(stage.attempts),
                show_count(stage.records),
                show_size(stage.bytes),
                show_count(stage.records_out),
                show_size(stage.bytes_out),
            )
            for stage in stages
        ],
    )


def _attempts(counts: AttemptCounts, *, ended: bool) -> str:
    """Return the number of attempts by how they ended, without zeros."""
    ends = {
        "failed": counts.failed,
        "failed by machine or storage": counts.infrastructure,
        "lost": counts.expired,
        "handed back": counts.preempted,
        "not needed": counts.superseded,
    }
    if ended:  # the rest went to another worker before it ran, or ended with the job
        ends["withdrawn"] = counts.started - counts.won - sum(ends.values())
    told = [f"{counts.started} started, {counts.won} won"]
    return ", ".join([*told, *(f"{count} {end}" for end, count in ends.items() if count > 0)])


def _print_slow(tasks: Sequence[TaskView]) -> None:
    """Print the tasks that have run for longest."""
    running = [
        (attempt.elapsed_seconds, task, attempt)
        for task in tasks
        for attempt in task.attempts
        if attempt.state == "running"
    ]
    if not running:
        return
    running.sort(key=lambda item: -item[0])
    click.echo()
    tables.print_table(
        ("RUNNING TASK", "ATTEMPT", "WORKER", "FOR", "DONE", "RECORDS", "READ", "STATUS"),
        [
            (
                task.name,
                attempt.number,
                attempt.worker_id,
                show_duration(elapsed),
                f"{attempt.fraction:.0%}",
                show_count(attempt.records_read),
                show_size(attempt.bytes_read),
                attempt.status,
            )
            for elapsed, task, attempt in running[:_SLOW_TASKS]
        ],
    )


def _print_tasks(tasks: Sequence[TaskView]) -> None:
    for task in tasks:
        failures = f", {task.failures} failures" if task.failures else ""
        click.echo(f"\n{task.name}  {task.state}{failures}")
        for attempt in task.attempts:
            click.echo(
                f"  attempt {attempt.number} on {attempt.worker_id}: {attempt.state}, "
                f"{show_duration(attempt.elapsed_seconds)}, {attempt.fraction:.0%} {attempt.status}"
            )
        for line in task.story:
            click.echo(f"    {line}")
