"""A master shell in this process, without a cluster around it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from mrcore.errors import UnavailableError
from mrcore.master.core.events import Event, NothingDone, Submitted, Synced
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.core.orders import Job
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.loop import Shell
from mrcore.storage.faulty import FaultKind, FaultyStorage, Hook, script
from mrcore.storage.memory import MemoryStorage
from mrcore.util.clock import SYSTEM, Clock
from tests.support.fake_worker import make_spec
from tests.support.stage_plans import two_stages

STATE = "mem://space/state"


class Idle:
    """A fleet that does nothing, and remembers the jobs that it was given."""

    def __init__(self) -> None:
        self.told: list[Job] = []

    async def carry_out(self, command: Job) -> Event:
        self.told.append(command)
        return NothingDone(command)


class Gate:
    """Holds back every append until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()

    def __call__(self, operation: str, uri: str) -> None:
        if operation == "commit":
            self.reached.set()
            assert self.opened.wait(20)


def take_over(storage: MemoryStorage) -> tuple[Machine, Journal]:
    machine = Machine(Limits(), Random(1))
    journal = Journal(storage, STATE, "w", SYSTEM)
    for read in journal.take_over():
        journal.feed(read, machine)
    return machine, journal


def run(
    act: Callable[[Shell, Idle], Awaitable[None]],
    hook: Hook | None = None,
    faults: dict[int, FaultKind] | None = None,
    error: Callable[[str], BaseException] = UnavailableError,
    clock: Clock = SYSTEM,
) -> None:
    """Let a shell over a store in memory run while `act` does."""

    async def main() -> None:
        storage = MemoryStorage()
        machine, journal = take_over(storage)
        journal._storage = FaultyStorage(storage, script(faults or {}), hook=hook, error=error)
        shell, idle = Shell(machine, journal, clock), Idle()
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            running = group.create_task(shell.run(idle))
            await act(shell, idle)
            running.cancel()
        shell.close()

    asyncio.run(main())


def submitted(job_id: str = "job-a") -> Submitted:
    spec = make_spec("mem://space/in", "mem://space/out", "0" * 64)
    return Submitted(
        job_id=job_id, request_id=job_id, spec=spec, stages=two_stages(1, 1), claim_generation="1"
    )


def synced(sequence: int, *, session: int = 1, epoch: int = 0, park: bool = False) -> Synced:
    return Synced("w1", session, sequence, epoch, slots=1, park=park)


async def turns() -> None:
    """Let the event loop do all that it can do without waiting."""
    for _ in range(100):
        await asyncio.sleep(0)


async def refusal(shell: Shell, event: Synced) -> str:
    """Synchronise, which must be refused; return the words."""
    with pytest.raises(UnavailableError) as caught:
        await shell.synchronize(event)
    return str(caught.value)


def failure_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
