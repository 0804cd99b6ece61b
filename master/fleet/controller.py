"""The loop that keeps a fleet: look, keep the books, decide, write it down, act, and look again.

Nothing is known only here. Machines and groups are read from the cloud at every look, and what must
outlive this process lies in `STATE/fleet.json`, which is replaced by compare-and-swap before
anything is done: a master that was replaced finds that out there, and does nothing any more.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from mrcore.cost.core.ledger import Ledger, Spend
from mrcore.cost.prices import Prices
from mrcore.errors import (
    AlreadyExistsError,
    MrcoreError,
    NotFoundError,
    PreconditionFailedError,
    StorageError,
)
from mrcore.master.core.events import DrainAsked, Event, JobBroken
from mrcore.master.core.machine import Machine
from mrcore.master.errors import FencedError
from mrcore.master.fleet import observe
from mrcore.master.fleet.cloud import Cloud, CloudError, CloudSnapshot, Target
from mrcore.master.fleet.core import messages
from mrcore.master.fleet.core.model import (
    Action,
    Bounds,
    Decision,
    Delete,
    DeleteGroup,
    Drain,
    End,
    FailJobs,
    FleetSnapshot,
    Grow,
    Memory,
)
from mrcore.master.fleet.core.policy import decide
from mrcore.master.fleet.status import FleetStatus
from mrcore.model import object_names
from mrcore.model.snapshots import Cost
from mrcore.storage import operations
from mrcore.storage.base import ABSENT, Storage
from mrcore.util.clock import Clock
from mrcore.util.decoding import UNREADABLE

log = logging.getLogger("mrcore.master")

LOOK_SECONDS: Final = 5.0
"""Between two looks at the cloud, while nothing new is heard of jobs."""
AGAIN_SECONDS: Final = 1.0
"""Between a look that led to actions and the next, and between two looks at the jobs."""
SAVE_SECONDS: Final = 30.0
"""Longest time between two writes of the books.

They are also written before every action, and when jobs come and go.
"""
SIZE_REQUEST_SECONDS: Final = 10.0
"""Pause between two looks for somebody's request for another size."""
_STATE: Final = "/state"


class Books(msgspec.Struct, kw_only=True):
    """The object `STATE/fleet.json`."""

    epoch: int
    """Epoch of the master that wrote it."""
    wall_seconds: float = 0.0
    memory: Memory = msgspec.field(default_factory=Memory)
    spend: Spend = msgspec.field(default_factory=Spend)


class _WrittenRequest(msgspec.Struct):
    """The part of `HOME/cluster.json` that is read: the size that was asked for last."""

    max_workers: int | None = None
    min_workers: int | None = None


class _Shell(Protocol):
    """The part of `mrcore.master.shell.loop.Shell` that a fleet needs."""

    machine: Machine

    @property
    def durable(self) -> bool: ...

    async def send(self, event: Event) -> None: ...


class Fleet:
    """The controller of the fleet of one cluster; `run` is a task of its own."""

    def __init__(
        self,
        shell: _Shell,
        cloud: Cloud,
        target: Target,
        bounds: Bounds,
        *,
        prices: Prices,
        storage: Storage,
        state_uri: str,
        clock: Clock,
        busy: Callable[[], bool],
        expect: Callable[[int], None],
        end: Callable[[], None],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """`busy` reports submissions, `expect` gets the slots to come, `end` ends the master."""
        self.status = FleetStatus(cost=self._cost)
        self._shell = shell
        self._cloud = cloud
        self._target = target
        self._bounds = bounds
        self._ledger = Ledger(prices)
        self._storage = storage
        self._state_uri = state_uri
        self._clock = clock
        self._busy = busy
        self._expect = expect
        self._end = end
        self._look_seconds = look_seconds
        self._memory = Memory()
        self._generation = ABSENT
        self._saved_at = float("-inf")
        self._saved_jobs: list[tuple[str, str]] = []
        self._size_request = observe.SizeRequest()
        self._requested_at = float("-inf")
        self._own = operations.counted()
        self._look = CloudSnapshot()
        self._problem = ""
        """Sentence on what the cloud or the store refuses."""
        self._ended = False

    async def run(self) -> None:
        """Keep the fleet until it has ended; raise FencedError once another master keeps it."""
        await asyncio.to_thread(self._load)
        while not self._ended:
            pause = self._look_seconds
            try:
                decision = await self._turn()
                self._problem = ""
                if decision.actions:
                    pause = min(AGAIN_SECONDS, pause)
            except FencedError:
                raise
            except MrcoreError as error:
                if self._problem != str(error):
                    log.warning("the fleet is not kept: %s", error)
                self._problem = str(error)
            except Exception as error:  # a defect must not end the jobs
                log.exception("the fleet is not kept")
                self._problem = f"The master failed to keep its fleet ({error!r})."
            self._show_problem()
            await self._wait(pause)

    async def shut_down(self) -> None:
        """Delete what is left of the cluster, our own machine last; do this when all else is done.

        Templates and rules go while there is still somebody to delete them; they cost nothing, so a
        refusal does not keep a machine that does.
        """
        if not self._ended:
            return
        own = socket.gethostname().partition(".")[0]
        masters = [machine for machine in self._look.machines if machine.master]
        if own not in {machine.name for machine in masters}:
            log.info("the cluster is gone; this master does not run on a machine of it")
            return
        try:
            await asyncio.to_thread(self._cloud.delete_parts)
        except MrcoreError as error:
            log.warning("templates or firewall rules of the cluster are left: %s", error)
        for machine in sorted(masters, key=lambda machine: machine.name == own):
            log.info("deletes the master's machine, %s", machine.name)
            await asyncio.to_thread(self._cloud.delete_machine, machine.name, machine.zone)

    def close(self) -> None:
        """Let go of the connections to the cloud."""
        self._cloud.close()

    def _cost(self, job_id: str) -> Cost | None:
        return self._ledger.spend.jobs.get(job_id)

    # -- one turn --------------------------------------------------------------------------------

    async def _turn(self) -> Decision:
        """Look, decide and act, once."""
        self._look = await asyncio.to_thread(self._cloud.look)
        await self._update_size_request()
        machine, now = self._shell.machine, self._clock.wall()
        self._book(machine, now)
        seen = observe.snapshot(
            machine,
            self._look,
            self._ledger,
            self._size_request,
            busy=self._busy(),
            durable=self._shell.durable,
        )
        decision = decide(seen, self._memory, self._bounds, now)
        # From here to the next wait nothing can be submitted that this decision has not seen.
        self.status.ending = decision.ending
        self._memory = decision.memory
        self._show(seen, decision, now)
        self._expect_slots(seen)
        # People read what a job has cost as soon as it has ended.
        news = decision.actions or self._jobs() != self._saved_jobs
        if news or self._clock.monotonic() - self._saved_at >= SAVE_SECONDS:
            self._saved_jobs = self._jobs()
            await asyncio.to_thread(self._save, now)
        await self._act_on(decision.actions)
        return decision

    async def _act_on(self, actions: Sequence[Action]) -> None:
        """Do all that can be done; raise the first error of the cloud at the end."""
        errors = []
        for action in actions:
            log.info("the fleet %s", messages.described(action))
            try:
                await self._act(action)
            except CloudError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _book(self, machine: Machine, now: float) -> None:
        jobs = [record.job_id for record in machine.cluster.live_jobs()]
        loads = observe.loads(machine.cluster.sorted_workers(), machine.cluster.now)
        preempted = self._ledger.accrue(self._look.machines, loads, jobs, self._memory.deleted, now)
        for name in preempted:
            log.warning("%s was preempted", name)
        for record in machine.cluster.durable.jobs.values():
            if record.job_id in jobs or record.job_id in self._ledger.spend.jobs:
                self._ledger.operations(
                    record.job_id,
                    sum(stage.class_a for stage in record.stages),
                    sum(stage.class_b for stage in record.stages),
                )
        own = operations.counted()
        self._ledger.own_operations(*own.since(self._own))
        self._own = own

    def _show(self, seen: FleetSnapshot, decision: Decision, now: float) -> None:
        view = observe.view(seen, decision, self._bounds, self._ledger, decision.notes)
        self.status.view = msgspec.structs.replace(
            view, target=str(self._target), cluster=self._target.cluster, seen_seconds=now
        )
        self.status.unfit = decision.unfit
        self.status.note = decision.notes[0].rstrip(".") if decision.notes else ""
        self._show_problem()

    def _show_problem(self) -> None:
        """Let what is refused come before everything else, as long as it is."""
        if not self._problem:
            return
        self.status.note = f"the fleet cannot be managed: {self._problem}".rstrip(".")
        view = self.status.view
        if view is not None and self._problem not in view.notes:
            notes = (self._problem, *view.notes)
            self.status.view = msgspec.structs.replace(view, notes=notes)

    def _expect_slots(self, seen: FleetSnapshot) -> None:
        """Have jobs planned for the workers that will come."""
        most = self._bounds.max_workers if seen.max_workers is None else seen.max_workers
        self._expect(most * max((group.vcpus for group in seen.groups.values()), default=1))

    async def _act(self, action: Action) -> None:
        cloud, machine = self._cloud, self._shell.machine
        match action:
            case Grow():
                await asyncio.to_thread(cloud.grow, action.model, action.size)
            case Delete():
                await asyncio.to_thread(cloud.delete, action.model, action.names)
            case DeleteGroup():
                await asyncio.to_thread(cloud.delete_group, action.model)
            case Drain():
                await self._shell.send(DrainAsked(action.worker_id))
            case FailJobs():
                for record in machine.cluster.live_jobs():
                    await self._shell.send(JobBroken(record.job_id, action.message))
            case End():
                self._ended = True
                self._end()

    async def _wait(self, seconds: float) -> None:
        """Wait for the next look; less where jobs come or go."""
        before = self._jobs()
        end = self._clock.monotonic() + seconds
        while not self._ended and self._jobs() == before:
            left = end - self._clock.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(min(left, AGAIN_SECONDS))

    def _jobs(self) -> list[tuple[str, str]]:
        return [(record.job_id, record.state) for record in self._shell.machine.cluster.live_jobs()]

    # -- the store -------------------------------------------------------------------------------

    async def _update_size_request(self) -> None:
        now = self._clock.monotonic()
        if self._state_uri.endswith(_STATE) and now - self._requested_at >= SIZE_REQUEST_SECONDS:
            self._requested_at = now
            self._size_request = await asyncio.to_thread(self._read_size_request)

    def _read_size_request(self) -> observe.SizeRequest:
        home = self._state_uri.removesuffix(_STATE)
        try:
            request = msgspec.json.decode(
                self._storage.read(f"{home}/cluster.json"), type=_WrittenRequest
            )
        except NotFoundError:
            return observe.SizeRequest()
        except (StorageError, *UNREADABLE) as error:
            log.warning("the size that was asked for cannot be read: %s", error)
            return self._size_request
        return observe.SizeRequest(request.max_workers, request.min_workers)

    def _load(self) -> None:
        """Take over the books of a former master; blocks."""
        books = self._read()
        if books is None:
            return
        self._ledger.spend = books.spend
        self._memory = books.memory
        # Who is missing now had no chance to speak to this master yet, nor had people with jobs:
        # a cluster that has idled away and is made anew must not go at once.
        self._memory.began_seconds = 0.0
        self._memory.idle_seconds = None

    def _read(self) -> Books | None:
        uri = object_names.fleet_uri(self._state_uri)
        while True:
            try:
                info = self._storage.stat(uri)
                content = self._storage.read(uri, generation=info.generation)
            except NotFoundError:
                try:
                    self._storage.stat(uri)
                except NotFoundError:
                    self._generation = ABSENT
                    return None
                continue  # replaced between the two calls
            self._generation = info.generation
            try:
                books = msgspec.json.decode(content, type=Books)
            except UNREADABLE as error:
                log.error("the books of the fleet cannot be read: %s", error)
                return None
            if books.epoch > self._shell.machine.cluster.epoch:
                raise FencedError(
                    f"A master with epoch {books.epoch} keeps the fleet of {self._state_uri}: this "
                    "one has stepped down."
                )
            return books

    def _save(self, now: float) -> None:
        """Write the books; raise FencedError when a later master writes them. Blocks."""
        books = Books(
            epoch=self._shell.machine.cluster.epoch,
            wall_seconds=now,
            memory=self._memory,
            spend=self._ledger.spend,
        )
        content = msgspec.json.format(msgspec.json.encode(books)) + b"\n"
        uri = object_names.fleet_uri(self._state_uri)
        while True:
            try:
                with self._storage.open_write(uri, expect=self._generation, durable=True) as writer:
                    writer.write(content)
                    self._generation = writer.commit().generation
            except (AlreadyExistsError, PreconditionFailedError):
                self._read()  # a former master was late, or we are the former one
                continue
            self._saved_at = self._clock.monotonic()
            return
