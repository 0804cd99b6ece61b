"""There are no spot VMs to be had, and then a quota is used up."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.cloud.machines.cloud import CloudError
from tests.cloud.proof.cluster import until
from tests.cloud.proof.runs import Run
from tests.cloud.proof.story import BOOT_SECONDS, Story

REGION = "us-central1"
AMPLE = 200


class Shortage(Story):
    """The user sees each shortage, and the job runs in the end, on VMs on demand."""

    name = "shortage"
    about = "no spot VMs, then no quota: shown at once, and on-demand VMs run the job"
    workers = 1

    def play(self) -> None:
        cluster = self.cluster
        self.say("there are no spot VMs")
        cluster.hurt("stockout", model="SPOT")
        run = self.start_run(f"--workers={self.workers}")
        self._await_text(run, "stockout", "the runner says so")
        self._until("the master's VM ran", run, lambda: bool(cluster.instances("master")))
        # The master's own two are in use: none is left for a worker.
        cluster.hurt("quota", metric="CPUS", limit=2, region=REGION)
        self._until("the job was there", run, lambda: bool(cluster.job()))
        self._await_note(run, "to be had")
        self._await_note(run, "On-demand ones are asked for instead")
        self._await_note(run, "over the quota")
        cluster.hurt("quota", metric="CPUS", limit=AMPLE, region=REGION)
        self.say("there is quota again")
        self._until("workers were made", run, lambda: bool(cluster.instances("worker")))
        names = [str(vm["name"]) for vm in cluster.instances("worker")]
        if not all("-standard-" in name for name in names):
            raise CloudError(f"These are not on demand: {', '.join(names)}.")
        self.say(f"on demand: {', '.join(names)}")
        self.finish(run)
        if "over the quota" not in run.said():
            raise CloudError(f"{run.said()}\nThe run has not reported the quota.")

    def _until(self, what: str, run: Run, look: Callable[[], bool]) -> None:
        def seen() -> bool:
            run.check_alive()
            return look()

        until(what, seen, BOOT_SECONDS)

    def _await_text(self, run: Run, text: str, meaning: str) -> None:
        begin = time.monotonic()
        self._until(f"the run said {text}", run, lambda: text in run.said())
        self.say(f"{meaning}, {time.monotonic() - begin:.0f} s after it began")

    def _await_note(self, run: Run, text: str) -> None:
        """Wait until `mrcore show` has a note with this text."""

        def told() -> str | None:
            run.check_alive()
            notes = self.cluster.shown().get("fleet", {}).get("notes", ())
            return next((note for note in notes if text in note), None)

        self.say(f"mrcore show: {until(f'mrcore show reports {text!r}', told, BOOT_SECONDS)}")
