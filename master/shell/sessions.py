"""Sessions of clients that call functions: their beginning, their watches, and their end.

A watch is how a client learns what its calls have ended with, and how the master learns that the
client lives. A session that nobody has watched for a while is ended, unless it is to be kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from random import Random  # noqa: TID251 - the type only: a generator is always passed in
from typing import Final

from mrcore.errors import JobEndedError, JobFailedError, LimitError, UnknownJobError
from mrcore.master.core.call_problems import order_problem
from mrcore.master.core.events import CallsSent, CloseAsked, Submitted
from mrcore.master.core.facts import CallFailed, CallsCancelled, Fact, JobEnded, TaskWon
from mrcore.master.core.records import CallsRecord, JobRecord
from mrcore.master.core.room import has_room, problem_of_calls
from mrcore.master.shell.loop import Shell
from mrcore.model.calls import CallPlan
from mrcore.model.ids import new_job_id
from mrcore.model.job import JobSpec, JobState
from mrcore.model.stages import Calls, Result, StagePlan
from mrcore.util.clock import Clock

log = logging.getLogger("mrcore.master")

KEPT_SECONDS: Final = 3_600.0
"""Time for which the values of a kept session stay when nobody watches it."""
_STAGES: Final = (StagePlan(0, Calls(), Result()),)
_LOOKS_PER_TIMEOUT: Final = 6


class Watch:
    """The ends of a session's calls that one client has not been sent yet."""

    def __init__(self) -> None:
        self.ended: deque[int] = deque()
        self.started: list[int] = []
        self.woken = asyncio.Event()


class Sessions:
    """The sessions of a master."""

    def __init__(self, shell: Shell, clock: Clock, rng: Random, timeout_seconds: float) -> None:
        self._shell = shell
        self._clock = clock
        self._rng = rng
        self._timeout = timeout_seconds
        self._watches: dict[str, list[Watch]] = {}
        self._seen: dict[str, float] = {}
        """Time at which each session was opened, or watched last."""
        shell.observe(self._observe)

    # -- requests --------------------------------------------------------------------------------

    async def open(self, request_id: str, spec: JobSpec) -> str:
        """Return the id of the session that a request has made, once it is durable."""
        cluster = self._shell.machine.cluster
        if cluster.job_of_request(request_id) is None:
            if not has_room(cluster, _STAGES):
                raise LimitError("The master has no room for another session. Try again later.")
            wall = self._clock.wall()
            session_id = new_job_id(spec.name, wall, self._rng)
            await self._shell.settle(
                Submitted(
                    job_id=session_id,
                    request_id=request_id,
                    spec=spec,
                    stages=_STAGES,
                    claim_generation="",
                    wall_seconds=wall,
                )
            )
        known = cluster.job_of_request(request_id)
        if known is None:
            raise UnknownJobError("The session of this request has ended. Open another one.")
        await self._shell.flushed()
        return known

    async def add(self, session_id: str, first: int, calls: tuple[CallPlan, ...]) -> int:
        """Add calls to a session; return the number that it has, once that is durable."""
        cluster, event = self._shell.machine.cluster, CallsSent(session_id, first, calls)
        record = await self.session(session_id)
        assert record.calls is not None
        if record.calls.added < first + len(calls):
            self._check_open(record)
            self._check_room(record.calls, calls)
        await self._shell.settle(event)
        record = await self.session(session_id)
        assert record.calls is not None
        if record.calls.added < first + len(calls):
            self._check_open(record)
            raise JobEndedError(order_problem(cluster, event) or f"{session_id} takes no calls.")
        return record.calls.added

    async def session(self, session_id: str) -> JobRecord:
        """Return a session that has not ended; raise UnknownJobError for any other.

        An end is reported once it is durable: otherwise the next master may go on with the session.
        """
        record = self._shell.machine.cluster.job(session_id)
        if record is None or record.state.final:
            await self._shell.flushed()
        if record is None or record.calls is None:
            raise UnknownJobError(f"No session {session_id} is known here. Open another one.")
        if record.state.final:
            why = f": {record.message}" if record.message else "."
            raise UnknownJobError(f"The session {session_id} has ended{why}")
        return record

    def _check_open(self, record: JobRecord) -> None:
        if record.calls is not None and record.calls.closed:
            raise JobEndedError(f"The session {record.job_id} is closed. Open another one.")

    def _check_room(self, session: CallsRecord, calls: Sequence[CallPlan]) -> None:
        """Raise LimitError for calls that the master has no memory for at present."""
        cluster = self._shell.machine.cluster
        most = cluster.limits.session_calls_max
        if session.added + len(calls) > most:
            raise JobEndedError(f"A session may have {most:,} calls. Open another one.")
        problem = problem_of_calls(cluster, session, calls)
        if problem is not None:
            raise LimitError(problem)

    # -- watches ---------------------------------------------------------------------------------

    async def watch(self, session_id: str) -> Watch:
        """Return a watch that begins with all calls that have ended; end it with `leave`.

        Those that are released are among them. Another client may have released what this one
        still waits for.
        """
        await self.session(session_id)
        watch = Watch()
        self._watches.setdefault(session_id, []).append(watch)
        try:
            ended = await self._shell.read(lambda machine: self._ended(session_id))
        except BaseException:
            self.leave(session_id, watch)
            raise
        # What has ended since the look is behind it; what ended before may be in both.
        known = set(ended)
        watch.ended = deque([*ended, *(index for index in watch.ended if index not in known)])
        watch.woken.set()
        return watch

    def leave(self, session_id: str, watch: Watch) -> None:
        """End a watch."""
        watches = self._watches.get(session_id, [])
        if watch in watches:
            watches.remove(watch)
        if not watches:
            self._watches.pop(session_id, None)
        self._seen[session_id] = self._clock.monotonic()

    def started(self, session_id: str, watch: Watch) -> list[int]:
        """Return, and forget, the calls that have begun since this watch was asked last."""
        new = self._shell.machine.calls.take_started(session_id)
        for other in self._watches.get(session_id, []):
            other.started += new
        found, watch.started = watch.started, []
        return found

    async def check_live(self, session_id: str) -> bool:
        """Return whether a watched session goes on; raise JobFailedError where it was cut short.

        An end is reported once it is durable.
        """
        record = self._shell.machine.cluster.job(session_id)
        if record is None or record.state.final:
            await self._shell.flushed()
        if record is None or record.state is JobState.SUCCEEDED:
            return False
        if record.state.final:
            raise JobFailedError(f"The session {session_id} was ended: {record.message}")
        return True

    def _ended(self, session_id: str) -> list[int]:
        record = self._shell.machine.cluster.job(session_id)
        if record is None or record.calls is None:
            return []
        ended, plans = record.calls.ended, record.calls.plans
        numbers = range(record.calls.added)
        return [*ended, *(each for each in numbers if each not in ended and each not in plans)]

    def _observe(self, facts: Sequence[Fact], seconds: float) -> None:
        """Pass on the ends of calls, which are durable now."""
        del seconds
        if not self._watches:
            return
        for fact in facts:
            match fact:
                case TaskWon():
                    task = fact.attempt.task
                    self._push(task.job_id, (task.index,))
                case CallFailed():
                    self._push(fact.task.job_id, (fact.task.index,))
                case CallsCancelled():
                    self._push(fact.job_id, fact.indexes)
                case JobEnded():
                    self._push(fact.job_id, ())
                case _:
                    pass

    def _push(self, session_id: str, indexes: Sequence[int]) -> None:
        for watch in self._watches.get(session_id, ()):
            watch.ended.extend(indexes)
            watch.woken.set()

    # -- ends ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """End the sessions whose clients have vanished, until cancelled."""
        while True:
            await asyncio.sleep(self._timeout / _LOOKS_PER_TIMEOUT)
            for event in self.vanished():
                log.info("a session is ended: %s", event.message, extra={"job": event.job_id})
                await self._shell.send(event)

    def vanished(self) -> list[CloseAsked]:
        """Return what ends the sessions that nobody watches any more."""
        now, live = self._clock.monotonic(), {}
        found = []
        for record in self._shell.machine.cluster.live_jobs():
            session = record.spec.session
            if session is None or record.calls is None:
                continue
            watched = record.job_id in self._watches
            since = live[record.job_id] = now if watched else self._seen.get(record.job_id, now)
            if session.keep:
                if now - since >= KEPT_SECONDS and not record.calls.plans:
                    kept = "Nobody has asked for its values for an hour."
                    found.append(CloseAsked(record.job_id, kept))
            elif now - since >= self._timeout:
                gone = f"Its client has not been there for {self._timeout:g} seconds."
                found.append(CloseAsked(record.job_id, gone))
        self._seen = live
        return found
