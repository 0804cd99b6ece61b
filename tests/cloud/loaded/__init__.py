"""Programs that are loaded once: each call is a fork of a process that has their modules.

    client    what a call starts in place of the program; hands the call over and waits
    forks     the process that has the modules, and forks for each call
    gcloud    the real gcloud there
    runner    `mrcore` there

Most of what a call costs is loading: about a second of CPU time, and tests make calls by the
hundred. Scripts pick their interpreter by a variable, so whoever calls them notices nothing.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.cloud import lifelines
from tests.support.repository import ROOT

HERE = Path(__file__).parent
BACKLOG = 64
_CLIENT = f"-I -S {HERE / 'client.py'}"
_PYTHON = """#!/bin/sh
[ "$2" = -m ] || exec {python} "$@"
shift 2
exec {python} {client} {path} "$@"
"""
"""An interpreter whose `-P -m mrcore` is a call; anything else it runs itself."""

Start = Callable[..., "subprocess.Popen[bytes]"]


@contextlib.contextmanager
def gcloud(
    environment: Mapping[str, str], start: Start = subprocess.Popen
) -> Iterator[dict[str, str]]:
    """Load gcloud for a block; yield the variables that have `gcloud` use it.

    environment: of the process that loads it; a call has its own.
    start: makes that process, as `subprocess.Popen` does: in another namespace, say.
    """

    def command(descriptor: int) -> tuple[Sequence[str], Mapping[str, str]]:
        arguments = f"{HERE / 'gcloud.py'} {descriptor}"
        return ["gcloud"], {**environment, "CLOUDSDK_PYTHON_ARGS": arguments}

    with _served(command, start) as path:
        yield {
            "CLOUDSDK_PYTHON": sys.executable,
            "CLOUDSDK_PYTHON_ARGS": f"{_CLIENT} {path}",
        }


@contextlib.contextmanager
def runner(
    environment: Mapping[str, str], start: Start = subprocess.Popen
) -> Iterator[dict[str, str]]:
    """Load `mrcore` for a block; yield the variables that have `scripts/gce` use it.

    The parameters are those of `gcloud`. Calls that are to get signals need the plain one.
    """

    def command(descriptor: int) -> tuple[Sequence[str], Mapping[str, str]]:
        return [sys.executable, "-m", f"{__name__}.runner", str(descriptor)], environment

    with _served(command, start) as path:
        python = path.with_name("python")
        python.write_text(_PYTHON.format(python=sys.executable, client=_CLIENT, path=path))
        python.chmod(0o755)
        yield {"MRCORE_PYTHON": str(python)}


@contextlib.contextmanager
def _served(
    command: Callable[[int], tuple[Sequence[str], Mapping[str, str]]], start: Start
) -> Iterator[Path]:
    """Start a server for a block; yield the path of its socket."""
    with tempfile.TemporaryDirectory(prefix="loaded-") as folder:
        path = Path(folder) / "socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(path))
            listener.listen(BACKLOG)
            words, environment = command(listener.fileno())
            process = start(
                words,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
            )
        try:
            yield path
        finally:
            lifelines.end(process)
