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
    """Create, use and delete VMs on Google Compute Engine; see `mrcore gce --help`."""
    bash = shutil.which("bash")
    if bash is None:
        raise UsageError("`mrcore gce` needs bash, which was not found. Install it.")
    script = Path(mrcore.__file__).parent / "deploy" / "gce" / "main.sh"
    environment = {**os.environ, "MRCORE_PYTHON": sys.executable}
    os.execve(bash, [bash, str(script), *arguments], environment)
