"""The laptop dies on which `mrcore gce run` was started: for a while, and then for good."""

from __future__ import annotations

from tests.cloud.machines.cloud import CloudError
from tests.cloud.proof.cluster import until
from tests.cloud.proof.story import BOOT_SECONDS, JOB_SECONDS, Story

IDLE = "90s"  # The time that a run may take to come must be less.


class Laptop(Story):
    """The same command finds the job again; and where none comes the cluster deletes itself."""

    name = "laptop"
    about = "the runner is killed, started again, and never again: the cluster removes itself"
    workers = 1

    def play(self) -> None:
        options = (f"--workers={self.workers}", f"--idle-timeout={IDLE}")
        run = self.start_run(*options)
        self.await_tasks(run, 1)
        winners = self.cluster.winners()
        self.say("the laptop dies")
        run.lose()

        run = self.start_run(*options)
        until("the job was followed", lambda: "runs this job already" in run.said(), BOOT_SECONDS)
        self.say("the same run has found its job")
        self.check_kept(winners)
        run.check_alive()
        self.say("the laptop dies for good")
        run.lose()

        until("the job had ended", self._has_succeeded, JOB_SECONDS)
        self.say("the job has succeeded all the same")
        self.compare()
        until("all VMs were gone", lambda: not self.cluster.machines(), BOOT_SECONDS)
        if groups := [path for path in self.cluster.made() if "instanceGroupManagers" in path]:
            raise CloudError(f"Left without VMs: {', '.join(groups)}.")
        self.say(f"after {IDLE} without a job the cluster has deleted groups and VMs")
        self._bring_back()
        self.down()

    def _bring_back(self) -> None:
        """Make the cluster anew, with the same name: it has its jobs, and does not go at once."""
        self.up("--idle-timeout=1h")
        self.await_workers()
        if self.cluster.job().get("state") != "succeeded":
            raise CloudError(f"The cluster does not know its job: {self.cluster.job()}")
        self.say("the cluster is made anew, and knows of its job")

    def _has_succeeded(self) -> bool:
        return "counts/_SUCCESS" in self.cluster.objects("counts/")
