"""A master with a fleet, without processes: real machine, journal, controller and driver.

The machines of the test cloud run nothing; `Master` says for each of them what its worker would.
The wall clock goes `SPEED` times as fast, so that a minute of patience is half a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import msgspec

from mrcore.cost.prices import Prices, load_prices
from mrcore.errors import UnavailableError
from mrcore.master.core.commands import (
    CheckWinner,
    CleanUp,
    DeleteValues,
    PlanJob,
    PrepareCommit,
    Reply,
    RunCommit,
)
from mrcore.master.core.events import (
    CleanedUp,
    CommitFinished,
    CommitPrepared,
    Event,
    NothingDone,
    Submitted,
    Synced,
    WorkerAbout,
)
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.core.orders import Job
from mrcore.master.fleet.compute import ComputeCloud
from mrcore.master.fleet.controller import Fleet
from mrcore.master.fleet.core.model import Bounds
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.loop import Shell
from mrcore.model.attempts import AttemptState, HeldAttempt
from mrcore.model.commit_plan import CommitPlan
from mrcore.model.ids import AttemptId
from mrcore.model.job import JobState
from mrcore.model.task import TaskOutput
from mrcore.storage.memory import MemoryStorage
from mrcore.util.clock import SYSTEM, Clock
from tests.cloud.fleet_site import Site
from tests.support.fake_worker import VERSIONS, make_spec
from tests.support.stage_plans import two_stages
from tests.support.waiting import wait_until_in_thread

STATE = "mem://space/home/state"
SPEED = 120.0
SLOTS = 2
TURN_SECONDS = 0.03


class HastyClock:
    """The time of this machine, with a wall clock in a hurry."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._start = clock.monotonic()
        self._wall = clock.wall()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wall(self) -> float:
        return self._wall + (self._clock.monotonic() - self._start) * SPEED

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)


class Commits:
    """Commits in no time."""

    async def carry_out(self, command: Job) -> Event:
        match command:
            case PrepareCommit():
                return CommitPrepared(command.job_id, CommitPlan())
            case RunCommit():
                return CommitFinished(command.job_id)
            case CleanUp():
                return CleanedUp(command.job_id)
            case CheckWinner() | PlanJob() | DeleteValues():
                return NothingDone(command)


@dataclass
class Hands:
    """One worker: what it holds, and since when."""

    sequence: int = 0
    since: dict[AttemptId, float] = field(default_factory=dict)
    draining: bool = False
    left: bool = False


class Master:
    """One life of a master whose workers are played."""

    def __init__(
        self, site: Site, storage: MemoryStorage, clock: Clock, driver: ComputeCloud
    ) -> None:
        self.site = site
        self.clock = clock
        self.machine = Machine(Limits(), Random(1))
        journal = Journal(storage, STATE, "w", SYSTEM)
        for read in journal.take_over():
            journal.feed(read, self.machine)
        self.shell = Shell(self.machine, journal, clock)
        self.storage = storage
        self.ended = asyncio.Event()
        self.hands: dict[str, Hands] = {}
        self.mute: set[str] = set()
        """Machines whose workers never join."""
        self.task_seconds = 0.2
        self.driver = driver

    def fleet(self, bounds: Bounds, prices: Prices | None = None) -> Fleet:
        return Fleet(
            self.shell,
            self.driver,
            self.site.target,
            bounds,
            prices=prices or load_prices(),
            storage=self.storage,
            state_uri=STATE,
            clock=self.clock,
            busy=lambda: False,
            expect=lambda _: None,
            end=self.ended.set,
            look_seconds=0.05,
        )

    async def submit(self, tasks: int, job_id: str = "job-a") -> None:
        """Submit a job that only maps."""
        spec = make_spec(
            "mem://space/in", "mem://space/out", "0" * 64, map_only=True, lease_seconds=2.0
        )
        event = Submitted(
            job_id=job_id,
            request_id=job_id,
            spec=spec,
            stages=two_stages(tasks, 0),
            claim_generation="1",
            wall_seconds=self.clock.wall(),
        )
        await self.shell.settle(event)

    def state(self, job_id: str = "job-a") -> JobState:
        job = self.machine.cluster.job(job_id)
        assert job is not None
        return job.state

    async def work(self) -> None:
        """Be the workers of all machines that run, for ever."""
        while True:
            names = await asyncio.to_thread(self._running)
            for name in set(self.hands) - set(names):
                del self.hands[name]
            for name in names:
                hands = self.hands.setdefault(name, Hands())
                if not hands.left and name not in self.mute:
                    await self._synchronize(name, hands)
            await asyncio.sleep(TURN_SECONDS)

    def _running(self) -> list[str]:
        return [
            path.rpartition("/")[2]
            for path in self.site.api.cloud.made()
            if "/instances/" in path and "-master" not in path
            if (self.site.api.cloud.resource(path) or {}).get("status") == "RUNNING"
        ]

    async def _synchronize(self, name: str, hands: Hands) -> None:
        hands.sequence += 1
        now = SYSTEM.monotonic()
        event = Synced(
            worker_id=f"{name}-0",
            session=1,
            sequence=hands.sequence,
            epoch=0,
            slots=SLOTS,
            held=tuple(self._held(one, now - since) for one, since in hands.since.items()),
            draining=hands.draining,
            park=False,
            about=WorkerAbout(
                host=f"{name}.zone.c.project.internal",
                python=VERSIONS.python,
                mrcore=VERSIONS.mrcore,
                pyarrow=VERSIONS.pyarrow,
            ),
        )
        try:
            reply = await self.shell.synchronize(event)
        except UnavailableError:
            return
        assert isinstance(reply, Reply)
        hands.since = {one.attempt: hands.since.get(one.attempt, now) for one in reply.wanted}
        hands.draining |= reply.drain
        hands.left = reply.leave

    def _held(self, attempt: AttemptId, elapsed: float) -> HeldAttempt:
        if elapsed < self.task_seconds:
            return HeldAttempt(attempt, AttemptState.RUNNING, elapsed_seconds=elapsed)
        output = TaskOutput(elapsed_seconds=elapsed, class_a=1, class_b=2)
        return HeldAttempt(attempt, AttemptState.FINISHED, elapsed_seconds=elapsed, result=output)


@asynccontextmanager
async def leading(
    site: Site, storage: MemoryStorage, clock: Clock, fleet_of: Callable[[Master], Fleet]
) -> AsyncIterator[tuple[Master, Fleet]]:
    """Let a master lead with its fleet and its workers until the end of the block."""
    driver: ComputeCloud = await asyncio.to_thread(site.driver)
    master = Master(site, storage, clock, driver)
    fleet = fleet_of(master)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(master.shell.run(Commits())),
                group.create_task(master.work()),
                group.create_task(fleet.run()),
            ]
            yield master, fleet
            for task in tasks:
                task.cancel()
    finally:
        master.shell.close()
        fleet.close()


async def until(look: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until something is so; raise TimeoutError where that takes too long."""
    await wait_until_in_thread(look, seconds, pause_seconds=TURN_SECONDS)


def dear(factor: float) -> Prices:
    """Return a price list by which machines cost `factor` times as much."""
    usual = load_prices()
    regions = {name: price * factor for name, price in usual.regions.items()}
    return msgspec.structs.replace(usual, regions=regions)
