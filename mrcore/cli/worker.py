"""`mrcore worker`: become a worker daemon."""

from __future__ import annotations

import click

from mrcore.cli import base
from mrcore.cli.daemon import become, pass_through


@base.command(**pass_through())
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Start a worker. `mrcore worker --help` lists its options."""
    become("worker", arguments)
