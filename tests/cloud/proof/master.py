"""The master's VM is lost, in each of the ways in which it can be."""

from __future__ import annotations

from tests.cloud.proof.cluster import MASTER
from tests.cloud.proof.story import Story


class MasterLost(Story):
    """Its host dies; it is deleted, and then the same `run` or the same `up` brings it back."""

    name = "master"
    about = "the master's VM crashes, and is deleted twice: the same run and up bring it back"
    pause_seconds = 0.006

    def play(self) -> None:
        cluster = self.cluster
        self.up()
        self.await_workers()
        run = self.start_run()
        self.await_tasks(run, 2)

        winners, epoch = cluster.winners(), cluster.epoch()
        self.say(f"the host of the master's VM dies, with {len(winners)} tasks done")
        cluster.hurt("crash", instance=MASTER)
        self.await_master(epoch)
        self.say("Compute Engine has started it again on another host")
        self.check_kept(winners)

        self.await_tasks(run, len(winners) + 2)
        winners, epoch = cluster.winners() | winners, cluster.epoch()
        self.say("the laptop dies that the run was started on")
        run.lose()
        self.delete_master()
        run = self.start_run()
        self.await_master(epoch)
        self.say("the same run has made a master anew")
        self.check_kept(winners)

        self.await_tasks(run, len(winners) + 2)
        winners, epoch = cluster.winners() | winners, cluster.epoch()
        self.delete_master()
        self.up()
        self.await_master(epoch)
        self.say("the same up has made a master anew, which the run follows")
        self.check_kept(winners)
        self.finish(run)
        self.check_kept(winners)
        self.down()
