"""`mrcore gce`: become the runner, a shell script that drives gcloud."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click

import mrcore
from mrcore.cli import base
from mrcore.cli.daemon import pass_through
from mrcore.errors import UsageError


@base.command(**pass_through())
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Make, use and delete VMs on Google Compute Engine; see `mrcore gce --help`."""
    bash = shutil.which("bash")
    if bash is None:
        raise UsageError("`mrcore gce` is a bash script, and there is no bash here: install it.")
    script = Path(mrcore.__file__).parent / "deploy" / "gce" / "main.sh"
    environment = {**os.environ, "MRCORE_PYTHON": sys.executable}
    os.execve(bash, [bash, str(script), *arguments], environment)
