"""Children of a worker for tests: a server to fork them, and attempts that wait for a test."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

from mrcore.tasks.child.fork_server import CHILD_DESCRIPTORS, CHILD_MODULE
from mrcore.util.forks import ForkRequest
from mrcore.worker.shell.fork_server import ForkServer
from mrcore.worker.shell.orphans import adopt_orphans
from tests.support.supervised_worker import SupervisedWorker

WAITING = """
    def map(key, value):
        if value == "wait":
            with open("{folder}/pipe") as pipe:
                pipe.read()
        yield value, 1
"""


def waiting(house: SupervisedWorker) -> None:
    """Make the job of which an attempt at `wait` lasts until `release`."""
    os.mkfifo(house.folder / "pipe")
    house.job(WAITING.format(folder=house.folder))


def release(house: SupervisedWorker) -> None:
    """Let the attempt that waits go on."""
    (house.folder / "pipe").write_text("")


@contextlib.contextmanager
def fork_server(scratch: Path, answer_seconds: float = 60.0) -> Iterator[ForkServer]:
    """Yield a fork server that is ready."""
    server = ForkServer(dict(os.environ), answer_seconds)
    try:
        server.start(scratch)
        assert select.select([server.descriptor], [], [], 60.0)[0]
        assert server.look()
        yield server
    finally:
        server.close()
        adopt_orphans(False)


def child_request(scratch: Path) -> ForkRequest:
    """Return a request for a child."""
    command = (sys.executable, "-P", "-m", CHILD_MODULE, *map(str, CHILD_DESCRIPTORS))
    return ForkRequest((*command, str(os.getpid()), str(scratch)), CHILD_DESCRIPTORS)
