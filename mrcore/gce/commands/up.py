"""`mrcore gce up`: make a cluster, and leave it up."""

from __future__ import annotations

from mrcore.errors import MrcoreError
from mrcore.gce import create, preflight, price
from mrcore.gce.connect import Connection
from mrcore.gce.console import quoted, say
from mrcore.gce.failures import StepsFailedError
from mrcore.gce.interrupts import INTERRUPTED, Stopped
from mrcore.gce.options import Options
from mrcore.gce.runner import Runner

NO_MASTER = 3


def up(options: Options, word: str = "") -> int:
    """Make a cluster, or finish what an interrupted command has begun; return the exit code."""
    runner = Runner("up", options)
    runner.settle_place()
    runner.settle_name(word)
    runner.settle_home()
    runner.need_home("where is the cluster to have its home? Give --bucket BUCKET.")
    runner.uses = preflight.uses_of_options(runner)
    if runner.plan is not None:
        preflight.check_options(runner)
        return _plan(runner)
    connections: list[Connection] = []
    runner.interrupts.install(lambda: _abandon(connections))
    try:
        return _make(runner, connections)
    except Stopped:
        # What is there stays: that is what the same command goes on with.
        runner.crew.settle()
        say(
            "stopped; the same command again goes on, and this removes what is there: "
            f"{runner.removal_command()}"
        )
        return INTERRUPTED
    finally:
        for connection in connections:
            connection.close()


def _abandon(connections: list[Connection]) -> None:
    for connection in connections:
        connection.abandon()


def _make(runner: Runner, connections: list[Connection]) -> int:
    try:
        preflight.check_before(runner)
    except StepsFailedError:
        return 2
    create.open_cluster(runner)
    try:
        create.make_cluster(runner)
    except StepsFailedError:
        say(
            "not all of it could be made; run the same command again, or remove the rest: "
            f"{runner.removal_command()}"
        )
        return 1
    connections.append(Connection(runner))
    try:
        connections[0].await_master()
    except MrcoreError as error:
        say(str(error))
        return NO_MASTER
    record, home = runner.cluster(), runner.home
    say(
        f"{record.name} is up; its home is {home}. It removes itself after "
        f"{record.idle_timeout} without a job."
    )
    words = ["mrcore", "gce", "run", "PLUGIN", "INPUT...", "-o", "OUT"]
    say(f"run a job:  {quoted([*words, f'--name={record.name}', f'--home={home}'])}")
    say(f"remove it:  {runner.removal_command()}")
    return 0


def _plan(runner: Runner) -> int:
    """Print what would be made: a summary first, then the commands."""
    assert runner.plan is not None
    preflight.collect_findings(runner)
    create.open_cluster(runner)
    runner.plan.summarize(
        [
            f"This would make {create.describe(runner.cluster())}.",
            f"Its home is {runner.home}.",
            "An hour of work comes to this:",
            *price.price_of_hour(runner),
        ]
    )
    create.make_cluster(runner)
    Connection(runner).report_group_errors()
    runner.plan.show()
    return 0
