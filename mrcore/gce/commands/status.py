"""`mrcore gce status`: what a cluster consists of, and what its master says."""

from __future__ import annotations

import msgspec

from mrcore.errors import MrcoreError
from mrcore.gce.connect import Connection
from mrcore.gce.console import say, show, show_json, show_table
from mrcore.gce.inventory import COLUMNS
from mrcore.gce.mrcore_command import run_mrcore
from mrcore.gce.options import Options
from mrcore.gce.runner import Runner


def status(options: Options, word: str = "") -> int:
    """Show machines, workers and jobs; return 0 if the master runs, and 1 if it does not."""
    runner = Runner("status", options)
    runner.record = runner.load_cluster(word)
    if runner.plan is not None:
        runner.note("A status reads only.")
        runner.plan.show()
        return 0
    inventory = runner.inventory
    inventory.take_once(runner.name)
    alive = runner.master_runs()
    if options.as_json:
        show_json([msgspec.to_builtins(row) for row in inventory.rows])
        return int(not alive)
    if not inventory.rows:
        home = f", though its home may be {runner.home}" if runner.home else ""
        say(f"project {runner.project} has no cluster {runner.name}{home}.")
        return 1
    rows = [[getattr(row, column) for column in COLUMNS] for row in inventory.rows]
    show_table([column.upper() for column in COLUMNS], rows)
    if runner.record is not None:
        _show_master(runner, alive=alive)
    return int(not alive)


def _show_master(runner: Runner, *, alive: bool) -> None:
    """Report what the groups could not do, and show the workers and jobs of a master that runs."""
    connection = Connection(runner, reach=alive)
    try:
        runner.crew.together(connection.report_group_errors)
        if not alive:
            return
        show("")
        if len(runner.master_rows()) > 1:
            run_mrcore(["masters", f"--state={connection.state}"])
            show("")
        if run_mrcore(["workers", *connection.options]) == 0:
            show("")
            run_mrcore(["jobs", *connection.options])
    except MrcoreError as error:
        say(str(error))
    finally:
        connection.close()
