"""`mrcore verify`: check an output against its receipt."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from mrcore.cli import base, tables
from mrcore.errors import DataError
from mrcore.storage.registry import absolute_uri


@base.command()
@click.argument("output", metavar="OUT")
@base.json_option
def command(output: str, as_json: bool) -> int:
    """Read every part of an output again and compare it with the receipt in OUT/_SUCCESS.

    Exits with 1 when something is missing, changed or added.
    """
    from mrcore.commit import verify

    report = verify(absolute_uri(output, str(Path.cwd())).rstrip("/"))
    raise NotImplementedError(report, tables, msgspec, DataError)
