"""All workers are preempted at once."""

from __future__ import annotations

import time

from tests.cloud.machines.cloud import CloudError
from tests.cloud.proof.books import Books
from tests.cloud.proof.cluster import MASTER, until
from tests.cloud.proof.runs import Run
from tests.cloud.proof.story import JOB_SECONDS, Story, machine_of

LOOK_SECONDS = 0.05
LEASE_SECONDS = 10.0
"""Handed back later than that a lease would have run out by itself."""


class Wave(Story):
    """Every worker hears the notice while all its slots are in the middle of a long task."""

    name = "wave"
    about = "all workers preempted at once: leases are handed back, and the fleet comes back"
    books = Books(files=4)
    pause_seconds = 0.05  # A task takes 45 s: what has just begun cannot end before its VM does.

    def play(self) -> None:
        self.up()
        joined = self.await_workers()
        run = self.start_run()
        until("all tasks were at work", lambda: self._at_work(run), JOB_SECONDS)
        self._preempt([machine_of(worker) for worker in joined])
        self.finish(run)
        self.down()

    def _at_work(self, run: Run) -> bool:
        """Return whether there is an attempt at each task that says how far it is."""
        run.check_alive()
        tasks = self.cluster.shown("--tasks").get("task_list", ())
        fractions: list[float] = [one["fraction"] for task in tasks for one in task["attempts"]]
        return sum(0 < fraction < 1 for fraction in fractions) == self.books.files

    def _preempt(self, machines: list[str]) -> None:
        held = self.books.files
        self.say(f"the cloud takes {' and '.join(machines)} away, with {held} tasks that run")
        begin = time.monotonic()
        for name in machines:
            self.cluster.hurt("preempt", instance=name)

        def handed_back() -> bool:
            return self._attempts("preempted") >= held

        until("all leases were handed back", handed_back, LEASE_SECONDS, every=LOOK_SECONDS)
        seconds = time.monotonic() - begin
        self.say(f"{seconds:.1f} s after the first notice the master has all leases back")
        if expired := self._attempts("expired"):
            raise CloudError(f"{expired:g} leases were not handed back but ran out.")

    def _attempts(self, outcome: str) -> float:
        return self.cluster.metric(MASTER, "mrcore_master_attempts_total", outcome=outcome)
