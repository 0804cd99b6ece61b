"""Strikes as they are dealt, and the end of those that last."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from typing import Any, cast

from mrcore.chaos.core.strikes import Kind, Strike
from mrcore.chaos.processes import newest
from mrcore.chaos.rehearsal import _Both
from mrcore.chaos.site import Site
from mrcore.chaos.striker import Striker
from mrcore.client.follow import CANCELLING
from mrcore.model.job import JobState
from mrcore.util.clock import SYSTEM
from tests.support.waiting import wait_until


class StoppingSite:
    """A site that notes how long a worker stands still."""

    def __init__(self) -> None:
        self.stopped_now = threading.Event()
        self.times = 0

    def client(self) -> Any:
        class Client:
            def tasks(self, job_id: str, state: object) -> list[object]:
                return []

            def workers(self) -> list[object]:
                return []

            def close(self) -> None:
                pass

        return Client()

    def worker(self, number: int) -> Any:
        class Worker:
            name = f"worker-{number}"

        return Worker()

    @contextlib.contextmanager
    def stopped(self, daemon: object) -> Iterator[None]:
        self.times += 1
        self.stopped_now.set()
        yield
        self.stopped_now.clear()


class Job:
    """A job that has begun."""

    job_id = "job"
    state = JobState.RUNNING
    stages = ()


class Shown:
    """A display of sentences."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def test_who_leaves_does_not_wait_for_a_disaster_to_end() -> None:
    site, shown = StoppingSite(), Shown()
    forever = [Strike(Kind.PAUSE_WORKER, at, 0, 3600.0) for at in (0.0, 0.0, 0.9)]
    striker = Striker(cast(Site, site), 1, forever[:1], clock=SYSTEM, tell=shown.note)
    both = _Both(cast(Any, shown), striker)
    striker.update(cast(Any, Job()))
    assert site.stopped_now.wait(30)
    both.note(CANCELLING)
    wait_until(lambda: not site.stopped_now.is_set())
    striker._schedule = forever[1:]
    striker.update(cast(Any, Job()))
    striker.finish()
    assert site.times == 1  # nothing more is dealt
    assert [blow.who for blow in striker.blows] == ["worker-0"]
    assert shown.texts[-1] == CANCELLING


def test_the_newest_process() -> None:
    assert newest([]) is None
    with subprocess.Popen(["sleep", "600"]) as child:
        assert newest([child.pid, os.getpid(), os.getppid()]) == child.pid
        child.kill()
