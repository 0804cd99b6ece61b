"""The first story: VMs and the master's process are lost, and the fleet makes up for it."""

from __future__ import annotations

import json
from typing import ClassVar

from tests.cloud.machines.cloud import CloudError
from tests.cloud.proof import rights
from tests.cloud.proof.books import Books
from tests.cloud.proof.cluster import HOME, MASTER, MRCORE, until
from tests.cloud.proof.story import BOOT_SECONDS, Story, machine_of


class Losses(Story):
    """Workers are preempted and the master is killed in the middle of a job; then the size changes.

    The shorter form has less of each.
    """

    name = "losses"
    about = "two preemptions, the master's process killed, another size"
    workers = 3
    preemptions: ClassVar[int] = 2
    masters: ClassVar[int] = 1
    kills_master: ClassVar[bool] = True
    loses_leader: ClassVar[bool] = False
    """Whether the VM of the master that leads is lost for good."""
    scales_to: ClassVar[int] = 4

    def play(self) -> None:
        most = max(self.workers, self.scales_to)
        self.up(f"--max-workers={most}", f"--masters={self.masters}")
        found = self.await_workers()
        run = self.start_run()
        self.await_tasks(run, 1)
        lost = self._preempt(found)
        if self.kills_master:
            self._kill_master()
        if self.loses_leader:
            self._lose_leader()
        self._await_replacement(lost)
        self.finish(run)
        self.say(rights.check(self.cluster))
        self._account(lost)
        if self.scales_to:
            self._scale()
        self._check_logs(lost)
        self.down()

    def _preempt(self, joined: list[str]) -> list[str]:
        # Of workers that have joined: one that still boots would be no loss.
        lost = [machine_of(worker) for worker in joined[: self.preemptions]]
        self.say(f"the cloud takes {' and '.join(lost)} away")
        for name in lost:
            self.cluster.hurt("preempt", instance=name)
        return lost

    def _await_replacement(self, lost: list[str]) -> None:
        def replaced() -> list[str] | None:
            running = {str(vm["name"]) for vm in self.cluster.instances("worker")}
            is_whole = len(running) >= self.workers and running.isdisjoint(lost)
            return sorted(running) if is_whole else None

        names = until("the fleet had replaced what it lost", replaced, BOOT_SECONDS)
        self.say(f"the fleet has made up for it: {', '.join(names)}")

    def _kill_master(self) -> None:
        winners, epoch = self.cluster.winners(), self.cluster.epoch()
        self.say(f"the master's process is killed, with {len(winners)} tasks done")
        self.cluster.cloud.kill_service(self.cluster.vm_id(MASTER), "mrcore-master.service")
        self.await_master(epoch)
        self.say("systemd has started it again")
        self.check_kept(winners)

    def _lose_leader(self) -> None:
        vm = until("a master leads", self.cluster.leading_vm, BOOT_SECONDS)
        until("all masters were there", self._all_masters_read_along, BOOT_SECONDS)
        winners, epoch = self.cluster.winners(), self.cluster.epoch()
        self.say(f"{vm}, whose master leads, is switched off, with {len(winners)} tasks done")
        self.cluster.shell(vm, "poweroff --force --force")
        self.await_master(epoch)
        if (now := self.cluster.leading_vm()) == vm:
            raise CloudError(f"{vm} leads, though it was switched off.")
        self.say(f"{now} leads, and the run and the workers go on")
        self.check_kept(winners)

    def _all_masters_read_along(self) -> bool:
        return len(self.cluster.mrcore("masters") or ()) == self.masters

    def _account(self, lost: list[str]) -> None:
        """Look whether the books have what was lost and spent, over the master's death too."""
        python = MRCORE.with_name("python")
        told = self.cluster.command(
            *(python, "-P", "-m", "mrcore.cost", "report", f"--state={HOME}/state", "--json")
        )
        books = json.loads(told)
        empty = [
            name for name in ("boot", "idle", "master", "class_a", "class_b") if not books[name]
        ]
        if books["preemptions"] != len(lost) or len(books["jobs"]) != 1 or empty:
            raise CloudError(f"The books of the fleet are wrong: {told}")
        self.say(
            f"the books say ${books['dollars']:.4f}, {books['preemptions']} preemptions and "
            f"{books['class_a'] + books['class_b']} storage operations"
        )

    def _scale(self) -> None:
        for number in (self.scales_to, 1):
            self.say(f"mrcore gce scale {number}")
            self.cluster.gce("scale", str(number), f"--min-workers={number}")

            def settled(number: int = number) -> bool:
                return len(self.cluster.instances("worker")) == number

            until(f"there were {number} workers", settled, BOOT_SECONDS)
            self.await_workers(number)
        self.say("the fleet has followed")

    def _check_logs(self, lost: list[str]) -> None:
        wanted = {f"mrcore/proof/logs/{name}/tail.log" for name in lost}
        if missing := wanted - set(self.cluster.objects("mrcore/proof/logs/")):
            raise CloudError(f"These logs of VMs are not in the bucket: {', '.join(missing)}.")


class Short(Losses):
    """Losses that take two minutes, for continuous integration."""

    name = "short"
    about = "one preemption and the loss of the master that leads, in a smaller job"
    through_tunnel = True
    masters = 2
    loses_leader = True
    books = Books(files=12, lines=500)
    workers = 2
    from_image = True
    preemptions = 1
    kills_master = False
    scales_to = 0
