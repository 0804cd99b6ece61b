"""A cluster comes to its spend limit in the middle of a job."""

from __future__ import annotations

from tests.cloud.machines.cloud import CloudError
from tests.cloud.proof.books import Books
from tests.cloud.proof.cluster import until
from tests.cloud.proof.story import BOOT_SECONDS, JOB_SECONDS, Story

LIMIT_DOLLARS = 0.004
"""Spending of a worker and a master in two minutes."""
IDLE = "90s"  # The time that a run may take to come must be less.


class Spending(Story):
    """Jobs fail with a sentence, all workers go at once, and the idle master goes after them."""

    name = "spending"
    about = "the spend limit: jobs fail, all workers go; then the idle master deletes itself"
    workers = 1
    books = Books(files=8)
    pause_seconds = 0.5  # It would take half an hour.

    def play(self) -> None:
        self.up(f"--max-cost={LIMIT_DOLLARS}", f"--idle-timeout={IDLE}")
        run = self.start_run()
        run.end(1, JOB_SECONDS)
        sentence = "The spend limit is reached"
        told = [line for line in run.said().splitlines() if sentence in line]
        if not told:
            raise CloudError(f"{run.said()}\nThe run has not said: {sentence}.")
        self.say(told[-1].strip())
        if taken := self.cluster.objects("counts/part-"):
            raise CloudError(f"A job that failed has left {', '.join(taken)}.")
        until("no worker was left", lambda: not self.cluster.machines("worker"), BOOT_SECONDS)
        self.say("all workers have gone")
        until("the master was gone", lambda: not self.cluster.machines(), BOOT_SECONDS)
        self.say(f"the master has deleted itself after {IDLE} without a job")
        self.down()
