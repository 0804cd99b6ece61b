"""The worker as a whole, but for the wire: the machine, its children, and how it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Final, assert_never

from mrcore.daemon import logs
from mrcore.errors import MrcoreError
from mrcore.model import object_names
from mrcore.model.ids import AttemptId
from mrcore.model.task import TaskFailure, TaskResult
from mrcore.storage.registry import storage_for
from mrcore.worker.core.machine import Machine, can_finish
from mrcore.worker.core.messages import (
    Begun,
    Command,
    DrainBegun,
    Ended,
    Event,
    ForgetJob,
    Give,
    HandedBack,
    Kill,
    LearnJob,
    Leave,
    LookAtStore,
    StoreSeen,
    TakeBack,
    TakenBack,
    Warn,
)
from mrcore.worker.shell.supervisor import Supervisor

LAST_WORDS_SECONDS: Final = 3.0
"""What is left, of the time to leave in, for telling the master what was handed back."""
LOOK_SECONDS: Final = 0.5
"""How often, while it drains, a worker looks at what can still finish."""
_STORE_RETRY_SECONDS: Final = 2.0

log = logging.getLogger("mrcore.worker")


class Agent:
    """Feeds the machine what happens, and does what it commands.

    `tell` is called when the master should hear something new.
    """

    def __init__(self, machine: Machine, supervisor: Supervisor) -> None:
        self.machine = machine
        self.supervisor = supervisor
        self.tell: Callable[[], None] = lambda: None
        self.observe: Callable[[AttemptId, TaskResult], None] = lambda attempt, result: None
        """Called with every attempt that has ended here by itself."""
        self._loop = asyncio.get_running_loop()
        self.left: asyncio.Future[Leave] = self._loop.create_future()
        """Set when the process is to end, and how."""
        self._group: asyncio.TaskGroup | None = None
        self._store_task: asyncio.Task[None] | None = None
        self._all_ended = asyncio.Event()
        """Set when nothing runs any more while draining."""
        supervisor.on_ended = self._ended
        supervisor.may_begin = lambda: not machine.is_laden()

    async def run(self) -> None:
        """Watch over the children until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await self.supervisor.run()

    def feed(self, event: Event) -> bool:
        """Let something happen; return whether anything had to be done."""
        commands = self.machine.step(event)
        for command in commands:
            self._obey(command)
        if commands:
            self.supervisor.dispatch()
        if self.machine.draining and not self.machine.unfinished():
            self._all_ended.set()
        if self.machine.has_news():
            self.tell()
        return bool(commands)

    def note_begun(self) -> None:
        """Tell the machine which attempts have begun; before each request and each answer."""
        for running in self.supervisor.running():
            self.machine.step(Begun(running.attempt))

    def leave(self, leave: Leave) -> None:
        """End the process; the first reason counts."""
        if not self.left.done():
            self.left.set_result(leave)

    def drain(self, reason: str, seconds: float) -> None:
        """Leave within `seconds`: nothing new begins, and what cannot finish is handed back."""
        log.info("draining: %s", reason)
        self.note_begun()
        self.feed(DrainBegun(reason))
        self._hand_back(reason, self._late(seconds - LAST_WORDS_SECONDS))
        self.tell()
        if not self.machine.accepted:
            self.leave(Leave(0, f"{reason}; no master knew of this worker"))
            return
        assert self._group is not None
        self._group.create_task(self._leave_in_time(reason, seconds))

    async def _leave_in_time(self, reason: str, seconds: float) -> None:
        end = self._loop.time() + seconds - LAST_WORDS_SECONDS
        while not self._all_ended.is_set() and (left := end - self._loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, LOOK_SECONDS)):
                    await self._all_ended.wait()
            # What had just begun has said by now how fast it is, or has had its moment.
            self._hand_back(reason, self._late(left))
        self.note_begun()
        self._hand_back(reason, self.machine.running())
        await asyncio.sleep(min(seconds, LAST_WORDS_SECONDS))
        self.leave(Leave(0, f"{reason}; the master did not answer in time"))

    def _late(self, seconds: float) -> list[AttemptId]:
        """Return the attempts that cannot end in so many seconds, as far as can be told."""
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

    def _ended(self, attempt: AttemptId, result: TaskResult) -> None:
        self.observe(attempt, result)
        if isinstance(result, TaskFailure):
            log.warning("attempt failed: %s", result.message, extra=logs.about(attempt))
        else:
            seconds = round(result.elapsed_seconds, 3)
            log.debug("attempt done", extra={**logs.about(attempt), "seconds": seconds})
        self.feed(Ended(attempt, result))

    def _obey(self, command: Command) -> None:
        match command:
            case LearnJob(job_id, spec, state_uri):
                self.supervisor.learn(job_id, spec, state_uri)
            case ForgetJob(job_id):
                self.supervisor.forget(job_id)
            case Give(assignment):
                self.supervisor.give(assignment)
            case TakeBack(attempt):
                free = self.supervisor.take_back(attempt)
                self.machine.step(TakenBack(attempt) if free else Begun(attempt))
            case Kill(attempt):
                self.supervisor.kill(attempt)
            case LookAtStore(state_uri):
                self._look_at_store(state_uri)
            case Leave():
                self.leave(command)
            case Warn(sentence):
                log.warning("%s", sentence)
            case _:
                assert_never(command)

    def _look_at_store(self, state_uri: str) -> None:
        assert self._group is not None
        if self._store_task is not None:
            self._store_task.cancel()
        self._store_task = self._group.create_task(self._read_nonce(state_uri))

    async def _read_nonce(self, state_uri: str) -> None:
        """Read what tells this state's store from others, until it can be read."""
        uri = object_names.cluster_uri(state_uri)
        said = ""
        while True:
            try:
                content = await asyncio.to_thread(lambda: storage_for(uri).read(uri))
            except (MrcoreError, OSError, RuntimeError) as error:  # or there is no thread for it
                if str(error) != said:  # it may go on for hours
                    log.warning("no work before this worker can read %s: %s", uri, error)
                    said = str(error)
                await asyncio.sleep(_STORE_RETRY_SECONDS)
            else:
                self.feed(StoreSeen(nonce_of(content)))
                return


def nonce_of(content: bytes) -> str:
    """Return the nonce in a `cluster.json`; empty where there is none."""
    import msgspec

    try:
        found = msgspec.json.decode(content)
    except msgspec.MsgspecError:
        return ""
    return str(found.get("nonce", "")) if isinstance(found, dict) else ""
