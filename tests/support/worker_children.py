"""Attempts of a worker that wait until a test lets them go."""

from __future__ import annotations

import os

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
