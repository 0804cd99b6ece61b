"""A worker without children, work or master, on a clock that tests move."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

from mrcore.model.job import Versions
from mrcore.worker.core.machine import Machine
from mrcore.worker.shell.agent import Agent
from mrcore.worker.shell.supervisor import Supervisor
from mrcore.worker.shell.synchronizer import About, Link, Where
from tests.support.fake_clock import FakeClock


def idle_worker(folder: Path, clock: FakeClock, slots: int = 4) -> tuple[Link, Agent]:
    """Return the line to a master and the agent; called in a running loop."""
    supervisor = Supervisor(
        slots=slots,
        slot_memory_bytes=0,
        scratch=folder,
        environment=os.environ,
        clock=clock,
        store_log=lambda uri, attempt, text: None,
    )
    agent = Agent(Machine(session=1), supervisor)
    about = About(
        worker_id="w",
        slots=slots,
        memory_bytes=0,
        host="h",
        process_id=1,
        versions=Versions("", "", "", ""),
    )
    return Link(agent, about, Where("127.0.0.1:1", None, None), clock, Random(1)), agent
