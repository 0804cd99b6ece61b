"""Cuts of the network, and processes that are killed."""

from __future__ import annotations

from collections.abc import Callable

from tests.cloud.machines.cloud import CloudError
from tests.cloud.proof.cluster import MASTER, until
from tests.cloud.proof.story import BOOT_SECONDS, Story, machine_of

LEASE_SECONDS = 10.0
_MAIN = "$(systemctl show --value --property MainPID mrcore-worker@0)"


class Network(Story):
    """A worker and then the master are alone for longer than a lease; then processes die."""

    name = "network"
    about = "a worker and the master cut off for longer than a lease, a daemon and a child killed"
    pause_seconds = 0.012

    def play(self) -> None:
        self.up()
        first, second = self.await_workers()
        run = self.start_run()
        self.await_tasks(run, 1)
        self._cut_worker(machine_of(first))
        self._cut_master(machine_of(second))
        self._kill_child(machine_of(second))
        self._kill_daemon(machine_of(first))
        winners = self.cluster.winners()
        self.finish(run)
        self.check_kept(winners)
        self.down()

    def _cut_worker(self, vm: str) -> None:
        self.say(f"{vm} is cut off from the network")
        self.cluster.hurt("cut", instance=vm)
        self._until("its leases had run out", lambda: self._attempts("expired") > 0)
        winners = self.cluster.winners()
        self.cluster.hurt("cut", instance=vm, on=False)
        self.await_workers()
        self.say("its leases ran out, and it is back; what it still held harms nobody")
        self.check_kept(winners)

    def _cut_master(self, worker_vm: str) -> None:
        winners = self.cluster.winners()
        self.say("the master is cut off from the network")
        self.cluster.hurt("cut", instance=MASTER)

        def has_waited() -> bool:
            name = "mrcore_worker_master_unheard_seconds"
            return self.cluster.metric(worker_vm, name) > LEASE_SECONDS

        self._until("a worker had heard of no master for a lease", has_waited)
        self.cluster.hurt("cut", instance=MASTER, on=False)
        self.await_workers()
        self.say("the master is back")
        self.check_kept(winners)

    def _kill_child(self, vm: str) -> None:
        self.say(f"a process on {vm} that runs a task is killed")
        before = self._attempts("failed") + self._attempts("infrastructure")
        told = self.cluster.shell(vm, f"kill -9 $(pgrep --oldest --parent {_MAIN})")
        if told:
            raise CloudError(f"No process was killed: {told}")

        def has_failed() -> bool:
            return self._attempts("failed") + self._attempts("infrastructure") > before

        self._until("its attempt had failed", has_failed)
        self.say("its attempt has failed, and the worker goes on")

    def _kill_daemon(self, vm: str) -> None:
        self.say(f"the worker of {vm} is killed")
        self.cluster.shell(vm, f"kill -9 {_MAIN}")

        def is_back() -> bool:
            shown = "systemctl show --value --property NRestarts mrcore-worker@0"
            return self.cluster.shell(vm, shown).strip() == "1"

        self._until("systemd had started it again", is_back)
        self.await_workers()

    def _until(self, what: str, look: Callable[[], bool]) -> None:
        until(what, look, BOOT_SECONDS)

    def _attempts(self, outcome: str) -> float:
        return self.cluster.metric(MASTER, "mrcore_master_attempts_total", outcome=outcome)
