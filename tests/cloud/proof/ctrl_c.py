"""Somebody presses Ctrl-C while `mrcore gce run` is at work: once, and then twice."""

from __future__ import annotations

import re
import shlex

from tests.cloud.machines.cloud import CloudError
from tests.cloud.proof import traces
from tests.cloud.proof.cluster import until
from tests.cloud.proof.runs import INTERRUPTED
from tests.cloud.proof.story import BOOT_SECONDS, JOB_SECONDS, Story


class CtrlC(Story):
    """Once deletes everything, twice prints how to, and what was interrupted can be run again."""

    name = "ctrl-c"
    about = "Ctrl-C in a run: once, and twice; then the same run to its end"
    pause_seconds = 0.02
    workers = 1

    def play(self) -> None:
        before = traces.in_cloud(self.cluster)
        self._once()
        if left := set(traces.in_cloud(self.cluster)) - set(before):
            raise CloudError("Left in the cloud:\n" + "\n".join(sorted(left)))
        self.say("the job was cancelled, and nothing is left, nor of its output")
        self._twice()
        self.finish(self.start_run(f"--workers={self.workers}"))

    def _once(self) -> None:
        run = self.start_run(f"--workers={self.workers}")
        self.await_tasks(run, 1)
        self.say("Ctrl-C")
        run.interrupt()
        run.end(INTERRUPTED, JOB_SECONDS)

    def _twice(self) -> None:
        """Interrupt the removal too, and do what the run then says."""
        run = self.start_run(f"--workers={self.workers}")
        until("the master's VM was there", lambda: self.cluster.instances("master"), BOOT_SECONDS)
        self.say("Ctrl-C while the VMs boot")
        run.interrupt()
        until("it was being removed", lambda: "removing the cluster" in run.said(), BOOT_SECONDS)
        self.say("Ctrl-C again")
        run.interrupt()
        run.end(INTERRUPTED, JOB_SECONDS)
        command = re.search(r"this removes them: (mrcore gce down .*)", run.said())
        if command is None:
            raise CloudError(f"{run.said()}\nThe run has not said how its VMs go.")
        self.say(command[1])
        self.cluster.command(*shlex.split(command[1]))
