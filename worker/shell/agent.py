"""The worker as a whole, except for the wire: the machine, its children, and how it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Final, TypeAlias, assert_never

from mrcore.daemon import logs
from mrcore.errors import MrcoreError
from mrcore.model import object_names
from mrcore.model.ids import AttemptId
from mrcore.model.job import JobSpec
from mrcore.model.stages import stage_name
from mrcore.model.task import TaskFailure, TaskResult
from mrcore.storage.registry import storage_for
from mrcore.tasks.child.attempt_log import store_partial_log
from mrcore.util.decoding import UNREADABLE
from mrcore.worker.core.commands import (
    Command,
    Enqueue,
    ForgetJob,
    KeepJob,
    Kill,
    Leave,
    ReadNonce,
    Warn,
    Withdraw,
)
from mrcore.worker.core.events import (
    Begun,
    DrainBegun,
    Ended,
    Event,
    HandedBack,
    NonceRead,
    Withdrawn,
)
from mrcore.worker.core.machine import Machine
from mrcore.worker.core.pace import can_finish
from mrcore.worker.shell.followed_logs import FollowedLogs
from mrcore.worker.shell.supervisor import Supervisor

REPORT_SECONDS: Final = 3.0
"""Part of the time to leave in that is kept for reporting what was handed back."""
LOOK_SECONDS: Final = 0.5
"""Time between two looks, while a worker drains, at what can still finish."""
_STORE_RETRY_SECONDS: Final = 2.0

log = logging.getLogger("mrcore.worker")

AttemptObserver: TypeAlias = Callable[[str, TaskResult], None]


class Agent:
    """The agent, which feeds the machine what happens and does what it commands."""

    def __init__(self, machine: Machine, supervisor: Supervisor) -> None:
        self.machine = machine
        self.supervisor = supervisor
        self.news = asyncio.Event()
        """Set when the master should hear something new; cleared by whoever sends requests."""
        self._observers: list[AttemptObserver] = []
        self.leaving: Leave | None = None
        """Exit code and reason, once the process is to end."""
        self._is_leaving = asyncio.Event()
        self._specs: dict[str, JobSpec] = {}
        self._group: asyncio.TaskGroup | None = None
        self._store_task: asyncio.Task[None] | None = None
        self._followed = FollowedLogs(store_partial_log)
        self._all_ended = asyncio.Event()
        """Set when nothing runs any more while draining."""

    async def run(self) -> None:
        """Watch over the children until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await self.supervisor.run(self)

    def observe(self, observer: AttemptObserver) -> None:
        """Call `observer` from now on with every attempt that has ended here by itself."""
        self._observers.append(observer)

    def feed(self, event: Event) -> bool:
        """Let something happen; return whether anything had to be done."""
        commands = self.machine.step(event)
        for command in commands:
            self._execute(command)
        if commands:
            self.supervisor.dispatch()
        if self.machine.draining and not self.machine.unfinished():
            self._all_ended.set()
        if self.machine.has_news():
            self.news.set()
        return bool(commands)

    def note_begun(self) -> None:
        """Let the machine know which attempts have begun; before each request and each answer."""
        for running in self.supervisor.running():
            self.machine.step(Begun(running.attempt))

    def follow(self, attempts: Collection[AttemptId]) -> None:
        """Store what these attempts have printed so far, as far as they run here."""
        if not attempts:
            return
        assert self._group is not None
        supervisor = self.supervisor
        self._followed.look(attempts, supervisor.running(), supervisor.jobs, self._group)

    def leave(self, leave: Leave) -> None:
        """End the process; the first reason counts."""
        if self.leaving is None:
            self.leaving = leave
        self._is_leaving.set()

    async def left(self) -> Leave:
        """Wait until the process is to end; return how."""
        await self._is_leaving.wait()
        assert self.leaving is not None
        return self.leaving

    def drain(self, reason: str, seconds: float) -> None:
        """Leave within `seconds`: nothing new begins, and what cannot finish is handed back."""
        log.info("draining: %s", reason)
        self.note_begun()
        self.feed(DrainBegun(reason))
        self._hand_back(reason, self._late(seconds - REPORT_SECONDS))
        self.news.set()
        if not self.machine.accepted:
            self.leave(Leave(0, f"{reason}; no master knew of this worker"))
            return
        assert self._group is not None
        self._group.create_task(self._leave_in_time(reason, seconds))

    async def _leave_in_time(self, reason: str, seconds: float) -> None:
        now = asyncio.get_running_loop().time
        end = now() + seconds - REPORT_SECONDS
        while not self._all_ended.is_set() and (left := end - now()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, LOOK_SECONDS)):
                    await self._all_ended.wait()
            # What had just begun has shown its pace by now, or has had its moment.
            self._hand_back(reason, self._late(left))
        self.note_begun()
        self._hand_back(reason, self.machine.running())
        await asyncio.sleep(min(seconds, REPORT_SECONDS))
        self.leave(Leave(0, f"{reason}; the master did not answer in time"))

    def _late(self, seconds: float) -> list[AttemptId]:
        """Return the attempts that cannot end within `seconds`, as far as their pace shows."""
        return [
            one.attempt
            for one in self.supervisor.running()
            if not can_finish(one.elapsed_seconds, one.progress.fraction, seconds)
        ]

    def _hand_back(self, reason: str, attempts: Iterable[AttemptId]) -> None:
        late = frozenset(attempts)
        self.note_begun()
        if late:
            self.feed(HandedBack(late, reason))

    # What the supervisor asks and reports: this is its Listener.

    def may_begin(self) -> bool:
        """Return whether there is room for the results of attempts that have yet to begin."""
        return self.machine.has_room_for_results()

    def attempt_ended(self, attempt: AttemptId, result: TaskResult) -> None:
        """Take the result of an attempt that has ended by itself."""
        stage = stage_name(self._specs[attempt.task.job_id], attempt.task.stage)
        for observer in self._observers:
            observer(stage, result)
        if isinstance(result, TaskFailure):
            log.warning("attempt failed: %s", result.message, extra=logs.about(attempt, stage))
        elif log.isEnabledFor(logging.DEBUG):
            seconds = round(result.elapsed_seconds, 3)
            log.debug("attempt done", extra={**logs.about(attempt, stage), "seconds": seconds})
        self.feed(Ended(attempt, result))

    def _execute(self, command: Command) -> None:
        match command:
            case KeepJob(job_id, spec, state_uri):
                self._specs[job_id] = spec
                self.supervisor.keep_job(job_id, spec, state_uri)
            case ForgetJob(job_id):
                del self._specs[job_id]
                self.supervisor.forget_job(job_id)
            case Enqueue(assignment):
                self.supervisor.enqueue(assignment)
            case Withdraw(attempt):
                free = self.supervisor.withdraw(attempt)
                self.machine.step(Withdrawn(attempt) if free else Begun(attempt))
            case Kill(attempt):
                self.supervisor.kill(attempt)
            case ReadNonce(state_uri):
                self._begin_reading_nonce(state_uri)
            case Leave():
                self.leave(command)
            case Warn(sentence):
                log.warning("%s", sentence)
            case _:
                assert_never(command)

    def _begin_reading_nonce(self, state_uri: str) -> None:
        assert self._group is not None
        if self._store_task is not None:
            self._store_task.cancel()
        self._store_task = self._group.create_task(self._read_nonce(state_uri))

    async def _read_nonce(self, state_uri: str) -> None:
        """Read the nonce of this state's store; try again until it can be read."""
        uri = object_names.cluster_uri(state_uri)
        logged = ""
        while True:
            try:
                content = await asyncio.to_thread(lambda: storage_for(uri).read(uri))
            except (MrcoreError, OSError, RuntimeError) as error:  # or there is no thread for it
                if str(error) != logged:  # it may go on for hours
                    log.warning("no work before this worker can read %s: %s", uri, error)
                    logged = str(error)
                await asyncio.sleep(_STORE_RETRY_SECONDS)
            else:
                self.feed(NonceRead(nonce_of(content)))
                return


def nonce_of(content: bytes) -> str:
    """Return the nonce in a `cluster.json`; empty where there is none."""
    import msgspec

    try:
        found = msgspec.json.decode(content)
    except UNREADABLE:
        return ""
    return str(found.get("nonce", "")) if isinstance(found, dict) else ""
