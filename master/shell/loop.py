"""The shell: one task owns the machine, and nothing leaves it before it is durable.

    servicers, committer --(event)--> inbox --> step --> facts --> journal --> commands, reads

Events are stepped in the order in which they came. Facts of all steps since the last append go into
one entry; while an append is in flight, stepping goes on. Each command waits until the facts of its
own step and of every step before it are durable, and so does each read: its answer is made from the
live machine and handed out once what it shows is flushed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeAlias, TypeVar

from mrcore.errors import UnavailableError
from mrcore.master.core.commands import Command, Reply, StepDown, Superseded
from mrcore.master.core.events import Event, Stalled, Synced, Ticked
from mrcore.master.core.facts import Fact, JobEnded
from mrcore.master.core.held_back import HeldBack
from mrcore.master.core.machine import Machine
from mrcore.master.core.orders import Job
from mrcore.master.core.outbox import Outbox
from mrcore.master.core.stalls import STALL_SECONDS, Stalls
from mrcore.master.errors import FencedError
from mrcore.master.shell.compactor import Compactor
from mrcore.master.shell.fact_log import log_facts, log_stalls
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.parked import Answer, ParkedRequests
from mrcore.util.clock import Clock

log = logging.getLogger("mrcore.master")

INBOX_MAX: Final = 20_000
"""Events that wait to be stepped; beyond it, who brings one waits."""
BATCH_MAX: Final = 256
"""Events between two looks at the clock."""
PARK_SECONDS_MAX: Final = 1_500.0
"""More than a third of the longest lease that a job can have."""
HEARTBEAT_SECONDS: Final = 0.5
"""Longest sleep of the loop; one that took longer shows a stall."""
FENCE_SECONDS: Final = 10.0
"""Pause of an idle master between two checks whether another one has taken over."""

_Item = tuple[Event, asyncio.Future[None] | None]
"""An event, and who wants to know that it was stepped."""
T = TypeVar("T")


class Executor(Protocol):
    """Executor of the commands that take a while; see `mrcore.master.shell.committer`."""

    async def carry_out(self, command: Job) -> Event:
        """Obey the command; return its answer. Each has one: the machine may wait for it."""
        ...


FactObserver: TypeAlias = Callable[[Sequence[Fact], float], None]
"""Receiver of facts that have become durable, and of the seconds that the journal took."""


class Shell:
    """Owner of the machine of a master that has taken over.

    `run` must be a task of its own; every other method is called from the same event loop.
    """

    def __init__(self, machine: Machine, journal: Journal, clock: Clock) -> None:
        self.machine = machine
        self.turned_at = clock.monotonic()
        """Time at which the loop that steps events turned last."""
        self._observers: list[FactObserver] = []
        self._journal = journal
        self._executor: Executor | None = None
        self._clock = clock
        self._inbox: asyncio.Queue[_Item] = asyncio.Queue(INBOX_MAX)
        self._append_wanted = asyncio.Event()
        self._stalls = Stalls()
        self._parked = ParkedRequests()
        self._outbox = Outbox(self._parked.is_wanted)
        self._readers: HeldBack[asyncio.Future[None]] = HeldBack(lambda reader: not reader.done())
        self._busy = 0
        """Commands that are being carried out."""
        self._before_tick: int | None = None
        """Once a deadline has passed: events that had come by then, and are stepped first."""
        self._changed: asyncio.Future[None] | None = None
        self._doubted = asyncio.Event()
        """Set when another master may lead: the loop was blocked for a while."""
        self._loop = asyncio.get_running_loop()
        self._group: asyncio.TaskGroup | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._compactor = Compactor(journal.snapshots, journal.packs, journal.since_snapshot, clock)

    # -- what others call ------------------------------------------------------------------------

    @property
    def entry(self) -> int:
        """Return the number of the newest journal entry."""
        return self._journal.number

    @property
    def durable(self) -> bool:
        """Return whether every fact that the machine has given so far is durable."""
        return self._outbox.durable

    async def send(self, event: Event) -> None:
        """Have an event stepped, soon; wait only while the inbox is full."""
        await self._inbox.put((event, None))

    async def settle(self, event: Event) -> None:
        """Have an event stepped, and wait until all that it changed is durable."""
        stepped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._inbox.put((event, stepped))
        await stepped
        await self.flushed()

    async def synchronize(self, event: Synced) -> Answer:
        """Have a worker's state stepped, and wait for the answer: up to a third of a lease.

        Raises UnavailableError when a later request of the worker made this one void, or when the
        master ends.
        """
        worker = self.machine.cluster.workers.get(event.worker_id)
        future = self._parked.add(event, worker, self._clock.monotonic())
        try:
            await self._inbox.put((event, None))
            return await future
        finally:
            self._parked.remove(event, future)

    async def read(self, look: Callable[[Machine], T]) -> T:
        """Return what `look` sees in the machine, once all of that is durable."""
        result = look(self.machine)
        await self.flushed()
        return result

    async def flushed(self) -> None:
        """Wait until every fact that the machine has given so far is durable."""
        if not self.durable:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._readers.put(self._outbox.recorded, future)
            await future

    def wait_flushed(self) -> None:
        """Do what `flushed` does for another thread: this blocks."""
        asyncio.run_coroutine_threadsafe(self.flushed(), self._loop).result()

    async def job_ended(self, timeout_seconds: float) -> None:
        """Wait until a job has ended, durably, or a command was carried out, or time is up."""
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._changed,), timeout=timeout_seconds)

    def dismiss(self) -> None:
        """Answer every parked request with UNAVAILABLE: the master is about to end."""
        self._parked.refuse_all("The master is ending. Try again soon.")

    async def quiesce(self, timeout_seconds: float) -> None:
        """Wait until nothing is being carried out and all is durable, or time is up."""
        end = self._clock.monotonic() + timeout_seconds
        while (
            self._busy
            or self._outbox.commands
            or not self._outbox.durable
            or not self._inbox.empty()
        ):
            left = end - self._clock.monotonic()
            if left <= 0:
                break
            await self.job_ended(min(left, 0.02))
        if not self._outbox.durable:
            log.warning("the journal does not answer: what happened last may be lost")
        self.compact()  # spares the next master most of the replay
        await self._compactor.finish(end - self._clock.monotonic())

    # -- the loop --------------------------------------------------------------------------------

    def observe(self, observer: FactObserver) -> None:
        """Call `observer` from now on with facts that have become durable."""
        self._observers.append(observer)

    async def run(self, executor: Executor) -> None:
        """Step, flush and obey until cancelled, or until the journal fails."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._executor = executor
            group.create_task(self._flush_forever())
            group.create_task(self._watch_fence())
            clock, epoch = self._clock, self.machine.cluster.epoch
            self._outbox.take(self.machine.take_over(epoch, clock.monotonic(), clock.wall()))
            await self._step_forever()

    async def _step_forever(self) -> None:
        woken = self._clock.monotonic()
        while True:
            worked = self._clock.monotonic() - woken
            pause = self._pause()
            asleep = self._clock.monotonic()
            batch = await self._receive(pause)
            woken = self.turned_at = self._clock.monotonic()
            late = woken - asleep - pause
            for event, stepped in batch:
                self._step(event)
                if stepped is not None and not stepped.done():
                    stepped.set_result(None)
            self._account_for(max(late, worked))
            self._tick_if_due(len(batch))
            if self._outbox.facts:
                self._append_wanted.set()
            self._release()
            log_stalls(self.machine)

    def _tick_if_due(self, stepped: int) -> None:
        """Let time pass at a deadline, after what had come before it was noticed, not all there is.

        A flood of requests would hold up every lease and back-off for ever, if that waited for an
        empty inbox.
        """
        deadline = self.machine.next_deadline()
        if deadline is None or deadline > self._clock.monotonic():
            self._before_tick = None
            return
        before = self._before_tick
        before = self._inbox.qsize() if before is None else before - stepped
        if before <= 0:
            self._step(Ticked(self._clock.wall()))
        self._before_tick = before if before > 0 else None

    def _pause(self) -> float:
        """Return how long the loop may sleep when nothing happens."""
        deadline = self.machine.next_deadline()
        if deadline is None:
            return HEARTBEAT_SECONDS
        return min(max(deadline - self._clock.monotonic(), 0.0), HEARTBEAT_SECONDS)

    async def _receive(self, pause: float) -> list[_Item]:
        """Return what has come, waiting at most `pause` seconds for the first of it."""
        batch: list[_Item] = []
        inbox = self._inbox
        # A turn of the loop lets in what has arrived: nothing expires before that is stepped.
        await asyncio.sleep(0)
        if inbox.empty() and pause > 0:
            try:
                async with asyncio.timeout(pause):
                    batch.append(await inbox.get())
            except TimeoutError:
                return batch
        while len(batch) < BATCH_MAX and not inbox.empty():
            batch.append(inbox.get_nowait())
        return batch

    def _account_for(self, deaf_seconds: float) -> None:
        """Make every lease longer by the time in which nobody could be heard or answered."""
        if deaf_seconds > STALL_SECONDS:
            log.warning("the event loop was blocked", extra={"seconds": round(deaf_seconds, 3)})
            self._doubted.set()
        seconds = self._stalls.take(self._clock.monotonic(), deaf_seconds)
        if seconds:
            self._step(Stalled(seconds))

    def _step(self, event: Event) -> None:
        try:
            outcome = self.machine.step(event, self._clock.monotonic())
        except Exception:
            # Nobody knows what state the machine is in: only a replay of the journal does.
            log.critical(
                "a defect: %s could not be stepped, so this master ends; start it again, and it "
                "goes on from its journal",
                type(event).__name__,
            )
            raise
        self._outbox.take(outcome)

    # -- the journal -----------------------------------------------------------------------------

    async def _flush_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._append_wanted.wait()
            self._append_wanted.clear()
            facts = self._outbox.entry()
            if not facts:
                continue
            # Only now is the state in memory that after this entry, and nothing more.
            number, durable = self._journal.number + 1, self.machine.cluster.durable
            snapshot = self._compactor.encode_if_due(number, durable, idle=False)
            self._stalls.append_began(self._clock.monotonic())
            content = await loop.run_in_executor(self._thread, self._journal.append, facts)
            blocked = self._stalls.append_ended(self._clock.monotonic())
            self._outbox.appended(len(facts))
            self._compactor.add(number, content)
            if snapshot is not None:
                self._compactor.write(snapshot)
            self._release()
            log_facts(self.machine, facts)
            for observer in self._observers:
                observer(facts, blocked)
            if any(isinstance(fact, JobEnded) for fact in facts):
                self._notify_changed()

    async def _watch_fence(self) -> None:
        """Find out that another master has taken over, even while there is nothing to append."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FENCE_SECONDS):
                    await self._doubted.wait()
            self._doubted.clear()
            # The machine ignores requests from the past; their senders have mostly gone.
            before = self._clock.monotonic() - PARK_SECONDS_MAX
            self._parked.refuse_before(before, "This request was overtaken by a later one.")
            if await self.leads():
                self.compact()

    def compact(self) -> None:
        """Have a snapshot written if there is much to replay, and nothing on its way."""
        if not self._outbox.durable:
            return
        number, durable = self._journal.number, self.machine.cluster.durable
        snapshot = self._compactor.encode_if_due(number, durable, idle=True)
        if snapshot is not None:
            self._compactor.write(snapshot)

    async def leads(self) -> bool:
        """Return whether this master still leads; False while the store does not answer.

        Raises FencedError when another one has taken over.
        """
        # In the journal's thread, so that no append of ours comes between number and look.
        loop = asyncio.get_running_loop()
        try:
            fenced = await loop.run_in_executor(self._thread, self._journal.fenced)
        except UnavailableError as error:
            log.warning("the journal does not answer", extra={"error": str(error)})
            return False
        if fenced:
            raise FencedError(
                "Another master has taken over this state: this one has stepped down."
            )
        return True

    def is_fenced(self) -> bool:
        """Return whether another master has taken over; blocks, so call it from another thread.

        Raises UnavailableError when the journal does not answer.
        """
        return self._thread.submit(self._journal.fenced).result()

    def close(self) -> None:
        """Let go of the journal's thread; an append in flight ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._compactor.close()

    # -- obeying ---------------------------------------------------------------------------------

    def _release(self) -> None:
        """Obey the commands, and wake the readers, whose facts are durable."""
        for command in self._outbox.release():
            self._dispatch(command)
        for reader in self._readers.release(self._outbox.flushed):
            if not reader.done():
                reader.set_result(None)

    def _notify_changed(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def _dispatch(self, command: Command) -> None:
        match command:
            case Reply() | Superseded():
                self._parked.answer(command)
            case StepDown():
                log.warning("a worker has seen a later master", extra={"epoch": command.epoch})
                self._spawn(self._check_for_later_master(command.epoch))
            case _:
                self._busy += 1
                self._spawn(self._carry_out(command))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        assert self._group is not None, "commands are obeyed only while `run` runs"
        self._group.create_task(work)

    async def _check_for_later_master(self, epoch: int) -> None:
        """Leave if a later master exists; else turn away the workers that have dreamt of one."""
        await self.leads()
        problem = f"This state has never had the epoch {epoch}. Start anew."
        self._parked.refuse_epoch(epoch, problem)

    async def _carry_out(self, command: Job) -> None:
        assert self._executor is not None, "commands are obeyed only while `run` runs"
        try:
            event = await self._executor.carry_out(command)
        finally:
            self._busy -= 1
            self._notify_changed()
        await self.send(event)
