"""Machines that nobody looks after: without a master, and beyond their time."""

from __future__ import annotations

from tests.cloud.machines.cloud import CloudError
from tests.cloud.proof.cluster import until
from tests.cloud.proof.story import BOOT_SECONDS, Story

ORPHAN_SECONDS = 20
RUN_HOURS = 12


class Forgotten(Story):
    """Workers without a master switch off, and Compute Engine deletes what has run for too long."""

    name = "forgotten"
    about = "workers without a master switch their VMs off; a run limit ends all VMs"
    workers = 1

    def play(self) -> None:
        option = f"--vm-env=MRCORE_WORKER_OPTIONS=--orphan-timeout={ORPHAN_SECONDS}s"
        self.up(option)
        self.await_workers()
        self.delete_master()
        epoch = self.cluster.epoch()
        until("no VM ran", lambda: not self.cluster.instances(), BOOT_SECONDS)
        off = [vm for vm in self.cluster.machines() if vm["status"] == "TERMINATED"]
        if len(off) != self.workers:
            raise CloudError(f"{len(off)} VMs are there, and off, and not {self.workers}.")
        self.say(f"the VMs have switched themselves off: no master for {ORPHAN_SECONDS} s")

        self.up(option)
        self.await_master(epoch)
        self.await_workers()
        self.say("the same up has made a master anew, which has replaced them")
        self.finish(self.start_run())

        self.say(f"{RUN_HOURS} hours go by")
        self.cluster.hurt("advance", seconds=RUN_HOURS * 3600)
        until("all VMs were gone", lambda: not self.cluster.machines(), BOOT_SECONDS)
        self.say("Compute Engine has deleted all VMs")
        self.down()
