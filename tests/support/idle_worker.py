"""A worker without children, work or master, on a clock that tests move."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

from mrcore.model.job import Versions
from mrcore.worker.core.machine import Machine
from mrcore.worker.shell.agent import Agent
from mrcore.worker.shell.orphans import Orphans
from mrcore.worker.shell.supervisor import Supervisor
from mrcore.worker.shell.synchronizer import ClusterAddress, Synchronizer, WorkerIdentity
from tests.support.fake_clock import FakeClock


def idle_worker(folder: Path, clock: FakeClock, slots: int = 4) -> tuple[Synchronizer, Agent]:
    """Return the synchronizer and the agent."""
    supervisor = Supervisor(
        slots=slots,
        slot_memory_bytes=0,
        scratch=folder,
        environment=os.environ,
        clock=clock,
        store_log=lambda uri, attempt, text: None,
        orphans=Orphans(),
    )
    agent = Agent(Machine(session=1), supervisor)
    about = WorkerIdentity(
        worker_id="w",
        slots=slots,
        cpus=2.0,
        labels=(),
        memory_bytes=0,
        host="h",
        process_id=1,
        versions=Versions("", "", "", ""),
    )
    return Synchronizer(
        agent, about, ClusterAddress("127.0.0.1:1", None, None), clock, Random(1)
    ), agent
