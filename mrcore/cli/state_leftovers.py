"""Leftovers of a cluster's state, as `mrcore gc --state` prints them."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import click

from mrcore.cli import base, tables
from mrcore.engine.daemons import daemon_command
from mrcore.engine.launched import daemon_environment
from mrcore.util.units import show_duration, show_number, show_size


def state_leftovers(state_uri: str, older_seconds: float, *, yes: bool, as_json: bool) -> int:
    """Show or remove what is left in a state; return the exit code.

    The program that does it is the master's: it reads the journal, which the library does not know.
    """
    arguments = ["--state", state_uri, "--older-than", str(older_seconds), *(["--yes"] * yes)]
    command = daemon_command("master.shell.gc", arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, env=daemon_environment(), check=False)
    if done.returncode:
        return done.returncode
    if as_json:
        click.echo(done.stdout, nl=False)
    else:
        _print(json.loads(done.stdout))
    return 0


def _print(found: dict[str, Any]) -> None:
    rows = [
        (kind, f"{each['objects']:,}", show_size(each["bytes"]), _age(each["oldest_seconds"]))
        for kind, each in found["kinds"].items()
        if each["objects"]
    ]
    if rows:
        total = ("total", f"{found['objects']:,}", show_size(found["bytes"]), "")
        tables.print_table(("KIND", "OBJECTS", "SIZE", "OLDEST"), [*rows, total])
    for note in found["notes"]:
        base.note(note)
    older = show_duration(found["older_than_seconds"])
    jobs = show_number(found["kept_jobs"], "job")
    kept = f"; kept all of {jobs} that run or ended within {older}" if found["kept_jobs"] else ""
    if not rows:
        click.echo(f"nothing to remove in {found['state']}{kept}")
    elif found["removed"]:
        click.echo(f"removed {show_number(found['objects'], 'object')}{kept}")
    else:
        click.echo(f"nothing was removed; remove these with --yes{kept}")


def _age(seconds: float) -> str:
    return show_duration(seconds) if seconds else "-"
