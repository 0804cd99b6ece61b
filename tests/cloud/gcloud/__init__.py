"""The real gcloud, loaded once: each call is a fork of a process that has its modules.

    client    what `gcloud` starts in place of its interpreter; hands the call over and waits
    server    has gcloud's modules, and forks for each call

Most of what a call of gcloud costs is loading them, about a second of CPU time; tests call it
hundreds of times. The script `gcloud` picks its interpreter by a variable, so whoever calls it
notices nothing.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.cloud import lifelines

HERE = Path(__file__).parent
BACKLOG = 64


@contextlib.contextmanager
def loaded(
    environment: Mapping[str, str], start: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen
) -> Iterator[dict[str, str]]:
    """Load gcloud for a block; yield the variables that have `gcloud` use it.

    environment: of the process that loads it; a call has its own.
    start: makes that process, as `subprocess.Popen` does: in another namespace, say.
    """
    with tempfile.TemporaryDirectory(prefix="gcloud-") as folder:
        path = Path(folder) / "socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(path))
            listener.listen(BACKLOG)
            process = start(
                ["gcloud"],
                env={
                    **environment,
                    "CLOUDSDK_PYTHON_ARGS": f"{HERE / 'server.py'} {listener.fileno()}",
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
            )
        try:
            yield {
                "CLOUDSDK_PYTHON": sys.executable,
                "CLOUDSDK_PYTHON_ARGS": f"-I -S {HERE / 'client.py'} {path}",
            }
        finally:
            lifelines.end(process)
