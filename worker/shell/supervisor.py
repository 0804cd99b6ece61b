"""Supervisor of one worker's children: who runs what, within which limits, and why one died.

At most `slots` children have orders at any time. As many again may stay idle, each with the
functions of a job loaded, so that two jobs that take turns do not pay for a new process each time.
All sessions of calls share their children.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mrcore.errors import DataError
from mrcore.model.attempts import Assignment
from mrcore.model.ids import AttemptId
from mrcore.model.job import JobSpec
from mrcore.model.task import FailureKind, TaskFailure, TaskResult
from mrcore.tasks.child.environment import child_environment
from mrcore.tasks.child.protocol import JobFile, Order
from mrcore.util.clock import Clock
from mrcore.util.proc import folder_is_gone
from mrcore.worker.core.limits import DEFAULT, Limits
from mrcore.worker.shell import exit_reasons
from mrcore.worker.shell.child_process import ChildProcess, Running, order_for
from mrcore.worker.shell.excess import enforce_limits
from mrcore.worker.shell.jobs import Jobs, is_for_calls
from mrcore.worker.shell.listener import Listener
from mrcore.worker.shell.log_tail import LogTails
from mrcore.worker.shell.orphans import Orphans
from mrcore.worker.shell.scratch import Folders
from mrcore.worker.shell.starter import Starter
from mrcore.worker.shell.starts import Starts

log = logging.getLogger("mrcore.worker")


class Supervisor:
    """Owner of the children. All methods run in the event loop's thread, and none blocks."""

    def __init__(
        self,
        *,
        slots: int,
        slot_memory_bytes: int,
        scratch: Path,
        restore: Callable[[], None] = lambda: None,
        environment: Mapping[str, str],
        clock: Clock,
        store_log: Callable[[JobFile, AttemptId, bytes], None],
        limits: Limits = DEFAULT,
        orphans: Orphans,
    ) -> None:
        self.slots = slots
        self.slot_memory_bytes = slot_memory_bytes
        self.ticked_at = clock.monotonic()
        """Time of the latest look at the children."""
        self._listener: Listener | None = None
        """Receiver of results, from `run` on. Children start before the rest of a worker."""
        self._folders = Folders(scratch, restore, limits.sweeps_max)
        self._limits = limits
        self._clock = clock
        self._log_tails = LogTails(store_log, limits)
        self._orphans = orphans
        self._children: list[ChildProcess] = []
        self._queue: deque[Order] = deque()
        self.jobs = Jobs(slot_memory_bytes, self._folders)
        self._unwanted: set[AttemptId] = set()
        self._starts = Starts(limits, clock)
        self._starter = Starter(
            child_environment(environment, slot_memory_bytes),
            scratch,
            limits,
            self._starts,
            orphans,
            provide_folders=self._provide_folders,
            on_change=self._resume,
            on_bad_start=self._count_bad_start,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._group: asyncio.TaskGroup | None = None
        self._provide_folders()

    # What the machine commands.

    def keep_job(self, job_id: str, spec: JobSpec, state_uri: str) -> None:
        """Keep a job; children find it in a file from their first order on."""
        self.jobs.keep(job_id, JobFile(spec, state_uri))

    def forget_job(self, job_id: str) -> None:
        """Forget a job without held attempts."""
        self.jobs.forget(job_id)

    def enqueue(self, assignment: Assignment) -> None:
        """Run this attempt when a slot is free; its job is kept."""
        job_id = assignment.attempt.task.job_id
        marks = self.jobs.spec(job_id).record_timeout_seconds is not None
        order = order_for(assignment, self.jobs.memory_bytes(job_id), mark_records=marks)
        self._queue.append(order)

    def withdraw(self, attempt: AttemptId) -> bool:
        """Drop an attempt that has not begun; return False when it has."""
        child = self._holder(attempt)
        if child is not None:
            self._queue.extendleft(reversed(child.recall()))
            if child.holds(attempt):
                return False
        self._queue = deque(order for order in self._queue if order.attempt != attempt)
        return True

    def kill(self, attempt: AttemptId) -> None:
        """Stop an attempt, begun or not, and report nothing of it."""
        if self.withdraw(attempt):
            return
        child = self._holder(attempt)
        assert child is not None
        self._unwanted.add(attempt)
        self._read_reports(child)  # it may have ended just now, and the next one have begun
        if child.holds(attempt):
            child.kill()

    def dispatch(self) -> None:
        """Hand waiting orders to children: the oldest first, and none before an older one."""
        if self._listener is not None and not self._listener.may_begin():
            back = [order for child in self._children for order in child.recall()]
            self._queue.extendleft(reversed(back))
            return
        self._send_queued()
        if not self._queue:
            self._rebalance()
            self._send_queued()

    # What the synchronizer asks.

    def running(self) -> Iterator[Running]:
        """Yield every attempt that has begun, with its progress."""
        now = self._clock.monotonic()
        for child in self._children:
            yield from child.attempts(now)

    def starving(self) -> bool:
        """Return whether a slot has nothing to do."""
        return sum(bool(child.sent) for child in self._children) < self.slots

    def unfinished(self) -> int:
        """Return the number of orders that wait or run."""
        return len(self._queue) + sum(len(child.sent) for child in self._children)

    def resident_bytes(self) -> int:
        """Return the resident memory of all children together."""
        return sum(child.resident_bytes() for child in self._children)

    # The life of children.

    def prestart(self) -> None:
        """Start a child for each slot, as soon as that can be, so that they are ready for work."""
        while len(self._children) < self.slots and self._start_child():
            pass

    async def run(self, listener: Listener) -> None:
        """Watch over the children until cancelled, and report to `listener`; then kill them all."""
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                try:
                    await self._watch()
                finally:
                    self.close()
        finally:
            self._group = None

    async def _watch(self) -> None:
        self._starter.listen(asyncio.get_running_loop())
        for child in self._children:
            self._listen(child)
        while True:
            await asyncio.sleep(self._limits.tick_seconds)
            self._tick()

    def close(self) -> None:
        """Kill every child and wait for them to die, for `close_seconds` in all."""
        for child in self._children:
            self._unlisten(child)
            child.kill()
        end = self._clock.monotonic() + self._limits.close_seconds
        for child in self._children:
            if child.exits_within(end - self._clock.monotonic()):
                child.reap()
            else:  # in a call to a device or a server that does not answer
                log.error("process %d cannot be killed: it is left behind", child.process_id)
            child.close()
        self._children.clear()
        self._starter.close()
        self._orphans.look(())
        self._orphans.end_all()

    def _start_child(self) -> ChildProcess | None:
        """Start one more child; return None if that cannot be done now."""
        child = self._starter.start() if self._starter.may_start() else None
        if child is not None:
            child.idle_since = self._clock.monotonic()
            self._children.append(child)
            self._listen(child)
        return child

    def _provide_folders(self) -> None:
        """Make the folders of this worker again if somebody has removed them."""
        if self._folders.are_there():
            return
        self._folders.make()
        for child in self._children:
            if child.sent:
                self._folders.of_child(child.process_id).mkdir(exist_ok=True)
            else:
                child.kill()

    def _listen(self, child: ChildProcess) -> None:
        if self._loop is not None:
            self._loop.add_reader(child.report_descriptor, self._read_reports, child)
            self._loop.add_reader(child.exit_descriptor, self._on_child_exit, child)

    def _unlisten(self, child: ChildProcess) -> None:
        if self._loop is not None:
            self._loop.remove_reader(child.report_descriptor)
            self._loop.remove_reader(child.exit_descriptor)

    def _holder(self, attempt: AttemptId) -> ChildProcess | None:
        return next((child for child in self._children if child.holds(attempt)), None)

    def _child_for(self, group: str) -> ChildProcess | None:
        """Return the child that should get the next order of this group, if one can take it now."""
        busy = [child for child in self._children if child.sent]
        if len(busy) >= self.slots:
            # Ahead of need, so that the next attempt starts without a round trip through us.
            alike = [child for child in busy if child.group == group and not child.doomed]
            return min(alike, key=lambda child: len(child.sent), default=None)
        idle = [child for child in self._children if not child.sent and not child.doomed]
        for child in idle[:]:
            if folder_is_gone(child.process_id):  # nothing can be imported there
                child.kill()
                idle.remove(child)
        for wanted in (group, None):
            for child in idle:
                if child.group == wanted:
                    return child
        if len(self._children) >= self._limits.children_max(self.slots):
            return None
        if not self._starter.may_start():
            return None
        if len(self._children) >= self._limits.children_per_slot * self.slots and idle:
            min(idle, key=lambda child: child.idle_since).kill()
        return self._start_child()

    def _send_queued(self) -> None:
        provided: set[str] = set()
        while self._queue:
            order = self._queue[0]
            job_id = order.attempt.task.job_id
            try:
                if job_id not in provided:  # once for many orders: it asks the file system
                    self._provide_folders()
                    self.jobs.provide_file(job_id)
                    provided.add(job_id)
                group = self.jobs.group(job_id)
                child = self._child_for(group)
                if child is None or not child.send(order, group):
                    return
                self._queue.popleft()
            except OSError as error:
                self._queue.popleft()
                reason = exit_reasons.system_reason(error, self._folders.path)
                message = f"this worker cannot hand the task to its process: {reason}"
                self._fail_unstarted(order, message)

    def _report(self, attempt: AttemptId, result: TaskResult) -> None:
        assert self._listener is not None, "nothing is assigned before `run`"
        self._listener.attempt_ended(attempt, result)

    def _fail_unstarted(self, order: Order, message: str) -> None:
        """Fail an attempt that has not begun, for what this worker lacks."""
        failure = TaskFailure(kind=FailureKind.INFRASTRUCTURE, message=message)
        self._report(order.attempt, failure)

    def _rebalance(self) -> None:
        """Return orders to the queue that wait behind others in a child while a slot is idle."""
        busy = [child for child in self._children if len(child.sent) > 1]
        if busy and self.starving():
            longest = max(busy, key=lambda child: len(child.sent))
            self._queue.extend(longest.recall())

    def _read_reports(self, child: ChildProcess) -> None:
        try:
            reports = child.read_reports()
        except DataError as error:
            log.error("child %d: %s", child.process_id, error)
            child.kill("wrote into a descriptor that is not its own")
            reports, child.reports_ended = [], True
        if child.reports_ended and self._loop is not None:
            self._loop.remove_reader(child.report_descriptor)
        if reports:
            self._starts.worked()
            self._retire_if_large(child)
        for report in reports:
            if report.attempt in self._unwanted:
                self._unwanted.discard(report.attempt)
            else:
                self._report(report.attempt, report.result)
        self.dispatch()
        if reports and child.has_much_to_do():
            self._listen_later(child)

    def _listen_later(self, child: ChildProcess) -> None:
        """Read the next reports in a moment, together: each of them would wake this process."""
        if self._loop is not None and not child.reports_ended:
            self._loop.remove_reader(child.report_descriptor)
            self._loop.call_later(self._limits.reports_seconds, self._listen_again, child)

    def _listen_again(self, child: ChildProcess) -> None:
        if self._loop is not None and child in self._children and not child.reports_ended:
            self._loop.add_reader(child.report_descriptor, self._read_reports, child)  # it is open

    def _retire_if_large(self, child: ChildProcess) -> None:
        """Kill an idle child that kept much memory: the next attempt should not pay for it."""
        child.idle_since = self._clock.monotonic()
        allowed = int(self._limits.retire_share * child.memory_bytes)
        if not child.sent and child.used_bytes(allowed, self._clock.monotonic()) > allowed:
            child.kill()

    def _on_child_exit(self, child: ChildProcess) -> None:
        """Settle what a dead child held, and start another in its place."""
        self._read_reports(child)
        self._unlisten(child)
        self._queue.extendleft(reversed(child.recall()))
        self._children.remove(child)
        view = child.killed_at or child.view()
        status = child.reap()
        lost = child.sent[0] if child.sent else None
        printed = self._log_tails.take(child)
        child.close()
        assert self._group is not None
        if lost is not None:
            self._starts.worked()
            if lost.attempt in self._unwanted:
                self._unwanted.discard(lost.attempt)
                self._log_tails.drop(printed)
            else:
                job = self.jobs[lost.attempt.task.job_id]
                failure = exit_reasons.death_failure(
                    lost, job.spec, status, child.kill_reason, view.function, view.mark, printed
                )
                self._group.create_task(self._report_exit(lost, failure, job, printed))
        else:
            self._log_tails.drop(printed)
            if view.begun == 0 and not child.doomed:
                reason = exit_reasons.start_reason(status, printed, self._folders.path)
                self._count_bad_start(reason)
        self._end_orphans()
        self._group.create_task(self._folders.sweep(child.process_id))
        self._resume()

    def _resume(self) -> None:
        self.prestart()
        self.dispatch()

    async def _report_exit(self, lost: Order, why: TaskFailure, job: JobFile, text: bytes) -> None:
        await self._log_tails.store(job, lost.attempt, text)
        self._report(lost.attempt, why)

    def _count_bad_start(self, reason: str) -> None:
        self._starts.failed(reason)
        if not self._starts.hopeless() or any(child.sent for child in self._children):
            return  # what runs may be what takes all, and gives it back when it ends
        queue, self._queue = self._queue, deque()
        message = f"this worker cannot start the processes that run tasks: {reason}"
        for order in queue:
            self._fail_unstarted(order, message)

    def _tick(self) -> None:
        now = self.ticked_at = self._clock.monotonic()
        self._end_orphans()
        for child in self._children:
            order = child.running() if child.sent else None
            if order is not None and not child.doomed:
                enforce_limits(child, order, self.jobs.spec(order.attempt.task.job_id), now)
            if child.group is not None and not child.sent:
                for_calls = is_for_calls(child.group)
                limit = self._limits.idle_calls_seconds if for_calls else self._limits.idle_seconds
                if now - child.idle_since > limit:
                    child.kill()
        self._resume()

    def _end_orphans(self) -> None:
        """Kill the processes that dead children have left behind."""
        own = {child.process_id for child in self._children}
        self._orphans.look(own | self._starter.process_ids())
        self._orphans.end_others({child.mark for child in self._children} | self._starter.marks())
