"""Conversation with the master: one `Synchronize` call at a time.

A call without news is parked at the master until there is an answer. When something happens here
meanwhile, the parked call is cancelled and the next one reports it. An answer that is lost with the
call is repeated. Small tasks end many at a time, so news waits a moment for more, unless a slot is
already without work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from random import Random  # noqa: TID251 - the type only: a generator is passed in
from typing import TYPE_CHECKING, Final

import grpc  # noqa: TID251 - this is the worker's border to gRPC
import grpc.aio  # noqa: TID251 - this is the worker's border to gRPC
from msgspec.structs import replace

from mrcore.errors import ClusterUnreachableError, MrcoreError, UsageError
from mrcore.model.attempts import AttemptState, HeldAttempt
from mrcore.model.job import Versions
from mrcore.rpc.channel import connect_aio
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.convert import job_spec_from_proto, versions_to_proto
from mrcore.rpc.convert_attempts import assignment_from_proto, put_held
from mrcore.rpc.convert_task import attempt_from_proto
from mrcore.rpc.credentials import find_credentials
from mrcore.rpc.masters import KnownMasters
from mrcore.rpc.roles import Role
from mrcore.rpc.status import error_from
from mrcore.rpc.v1 import worker_service_pb2 as pb
from mrcore.rpc.v1.worker_service_pb2_grpc import WorkerServiceStub
from mrcore.util.clock import Clock
from mrcore.worker.core.commands import Leave
from mrcore.worker.core.events import Answered
from mrcore.worker.shell.agent import Agent
from mrcore.worker.shell.child_process import Running

if TYPE_CHECKING:
    from mrcore.rpc.v1.worker_service_pb2_grpc import WorkerServiceAsyncStub

FIRST_SECONDS: Final = 10.0
"""Time for which wrong credentials are read again: a master may be starting just now."""
EAGER_SECONDS: Final = 5.0
EAGER_PAUSE_SECONDS: Final = 0.02
LONGEST_PAUSE_SECONDS: Final = 2.0
SILENT_SECONDS: Final = 60.0
"""Time between two log lines about the same failure."""
BATCHING_SECONDS: Final = 0.01
"""Time for which news waits for more while there is other work."""
AMPLE_BATCHING_SECONDS: Final = 0.5
"""The same while most of the work that is held has yet to end. Each call states all that is held,
so a call for every few tasks would cost more than the tasks."""
PARKED_AFTER_SECONDS: Final = 0.005
"""Time after which a call without results that was not answered counts as parked."""
LINGER_SECONDS: Final = 0.01
"""Time for which work that has just come may end before the next call reports that it is held."""
AMPLE_LINGER_SECONDS: Final = 0.2
"""The same while most of the work that is held has yet to end, and some has not begun. It is sent
ahead for about this time."""
PATIENCE_SECONDS: Final = 1.0
"""Time after which a call with results gives way to news. It is answered as soon as the journal is
flushed, so cancelling it costs more."""
REQUEST_BYTES_MAX: Final = 16 * 2**20
"""Bytes of results in one request. Others wait for the next one: a larger message is refused."""
ORPHANED: Final = 75
"""Exit code of a worker that no master has answered for too long: EX_TEMPFAIL of sysexits.h."""
CALL_SECONDS: Final = 15.0
"""Time limit of a call beyond the time for which the master may park it."""

log = logging.getLogger("mrcore.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerIdentity:
    """Description of a worker, sent with every request."""

    worker_id: str
    slots: int
    memory_bytes: int
    """Memory of all slots together."""
    cpus: float
    labels: tuple[str, ...]
    host: str
    process_id: int
    versions: Versions


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """Options that name the cluster: one of them is given."""

    master: str | None
    state_uri: str | None
    credentials_file: str | None

    def __str__(self) -> str:
        return self.master or self.state_uri or self.credentials_file or "?"


class Synchronizer:
    """The conversation that keeps the agent's machine and the master in agreement."""

    def __init__(
        self, agent: Agent, about: WorkerIdentity, where: ClusterAddress, clock: Clock, rng: Random
    ) -> None:
        self.connected = asyncio.Event()
        """Set when a master has answered for the first time."""
        self.answered_at = clock.monotonic()
        """Time of the latest answer of a master; before the first one, the time of the start."""
        self._agent = agent
        self._about = about
        self._versions = versions_to_proto(about.versions)
        self._where = where
        self._clock = clock
        self._rng = rng
        self._wake = agent.news
        self._sync_seconds = 10.0
        self._look_seconds = 0.0
        """Time between two reports while somebody watches a job that runs here; else 0."""
        self._is_look = False
        """Whether the next request reports for somebody who looks on, and is answered at once.

        A parked one would be cancelled for the next look: no answer would ever come.
        """
        self._news_at: float | None = None
        self._masters = KnownMasters()
        self._credentials: Credentials | None = None
        """Credentials of the master that was called last."""
        self._failures = 0
        """Failed conversations in a row."""
        self._logged_refused = False
        self._silent_until = float("-inf")
        """Latest log line on a failure: whether a call was refused, and when it may be repeated."""

    async def run(self) -> None:
        """Synchronise until cancelled; retry what fails, or end the agent."""
        started = self._clock.monotonic()
        while True:
            eager = self._clock.monotonic() - started < EAGER_SECONDS
            try:
                credentials = await self._look_for_credentials()
                async with connect_aio(credentials) as channel:
                    stub: WorkerServiceAsyncStub = WorkerServiceStub(channel)
                    await self._synchronize_forever(stub, credentials)
            except MrcoreError as error:
                waited = self._clock.monotonic() - started
                wrong = isinstance(error, UsageError) and not self.connected.is_set()
                if wrong and waited > FIRST_SECONDS:
                    self._agent.leave(Leave(error.exit_code, str(error)))
                    return
                # A master that starts together with its workers is not a reason to worry. One that
                # answers, and refuses the call, is not to be asked without a pause.
                refused = not isinstance(error, ClusterUnreachableError | UsageError)
                eager = eager and not refused
                if not eager or self.connected.is_set():
                    self._log_failure(error, refused)
            self._failures += 1
            pause = min(0.1 * 2.0 ** min(self._failures, 10), LONGEST_PAUSE_SECONDS)
            jittered = pause * self._rng.uniform(0.5, 1.0)
            await asyncio.sleep(EAGER_PAUSE_SECONDS if eager else jittered)

    async def leave_when_orphaned(self, seconds: float) -> None:
        """End the agent once no master has answered for `seconds`: its results are of no use."""
        while True:
            left = self.answered_at + seconds - self._clock.monotonic()
            if left <= 0:
                break
            await asyncio.sleep(left)
        reason = f"no master at {self._where} has answered for {seconds:g} s, so this worker ends"
        self._agent.leave(Leave(ORPHANED, f"{reason}: start it again once a master leads"))

    async def _look_for_credentials(self) -> Credentials:
        try:
            return await asyncio.to_thread(self._find)
        except (OSError, RuntimeError) as error:  # RuntimeError: there can be no more threads
            raise ClusterUnreachableError(f"The credentials cannot be read: {error}") from error

    def _find(self) -> Credentials:
        """Return how to call the master that leads, or another one after each failure."""
        where, found = self._where, None
        try:
            found = find_credentials(
                where.master,
                where.state_uri,
                where.credentials_file,
                role=Role.WORKER,
                reach_seconds=None,
            )
        except MrcoreError:
            if self._credentials is None:
                raise
        current, fails = self._credentials or found, self._failures > 0
        assert current is not None, "the first credentials are found, or an error is raised"
        self._credentials = self._masters.choose(current, found) if fails else found or current
        return self._credentials

    def _log_failure(self, error: MrcoreError, refused: bool) -> None:
        """Log a failure when it is new, and then once a minute: it may last for hours."""
        now = self._clock.monotonic()
        if not refused and not self._failures:
            return  # one broken connection is not a failure
        if refused is self._logged_refused and now < self._silent_until:
            return
        self._logged_refused, self._silent_until = refused, now + SILENT_SECONDS
        if refused:
            log.warning("the master at %s refused a call, trying again: %s", self._where, error)
        else:
            log.warning("no master at %s, trying again: %s", self._where, error)

    async def _synchronize_forever(
        self, stub: WorkerServiceAsyncStub, credentials: Credentials
    ) -> None:
        """Synchronise over one channel until a call fails."""
        while True:
            self._agent.note_begun()
            request = self._request()
            sent_at = self._clock.monotonic()
            self._news_at = None
            call = stub.Synchronize(request, timeout=self._sync_seconds + CALL_SECONDS)
            has_results = _has_results(request)
            try:
                patience = PATIENCE_SECONDS if has_results else PARKED_AFTER_SECONDS
                if not await self._wait(call, sent_at, patience):
                    continue
                response = await call
            except grpc.aio.AioRpcError as error:
                self._masters.learn(error.trailing_metadata())
                self._give_up_or_raise(error, credentials)
                return
            self._masters.learn(await call.trailing_metadata())
            self._failures = 0
            obeyed = self._take(response)
            quick = self._clock.monotonic() - sent_at < PARKED_AFTER_SECONDS
            if quick and not obeyed and not has_results:
                # A master that does not park must not make us call without end.
                await self._pause(EAGER_PAUSE_SECONDS)
            if obeyed or has_results:
                await self._linger()

    async def _linger(self) -> None:
        """Wait a moment for the end of work that is here, so that the next call reports it.

        Where that is at most one task a slot, the call would be parked first, and cancelled at
        once. Where most of it has yet to end, the call would state all of it, for the few tasks
        that have ended since the last one.
        """
        supervisor, begun = self._agent.supervisor, self._agent.supervisor.unfinished()
        await self._pause_while(
            lambda: 0 < begun <= supervisor.slots and supervisor.unfinished() == begun,
            LINGER_SECONDS,
        )
        await self._pause_while(
            lambda: (
                supervisor.unfinished() > supervisor.slots
                and self._has_ample_work()
                and not self._agent.machine.draining
            ),
            AMPLE_LINGER_SECONDS,
        )

    async def _pause_while(self, holds: Callable[[], bool], seconds: float) -> None:
        """Wait until something does not hold any more, for at most some seconds."""
        until = self._clock.monotonic() + seconds
        while holds() and (left := until - self._clock.monotonic()) > 0:
            await self._pause(left)

    async def _wait(
        self,
        call: grpc.aio.UnaryUnaryCall[pb.SynchronizeRequest, pb.SynchronizeResponse],
        sent_at: float,
        patience: float,
    ) -> bool:
        """Wait for the answer; return False if the call was cancelled for the sake of news."""
        call.add_done_callback(self._wake_up)
        while not call.done():
            due = self._due(sent_at, patience)
            now = self._clock.monotonic()
            if due is not None and due <= now:
                self._is_look = not self._agent.machine.has_news()
                call.cancel()
                return False
            await self._pause(None if due is None else due - now)
        return True

    def _due(self, sent_at: float, patience: float) -> float | None:
        """Return when the call in flight should give way to news; None without news.

        Where somebody looks on, the position of what runs is news after a while.
        """
        if not self._agent.machine.has_news():
            looks = self._look_seconds > 0.0 and self._agent.supervisor.unfinished()
            return sent_at + self._look_seconds if looks else None
        if self._news_at is None:
            self._news_at = self._clock.monotonic()
        return max(sent_at + patience, self._news_at + self._batching_seconds())

    def _batching_seconds(self) -> float:
        """Return how long news may wait for more, without a slot that idles for it."""
        if self._agent.supervisor.starving():
            return 0.0
        return AMPLE_BATCHING_SECONDS if self._has_ample_work() else BATCHING_SECONDS

    def _has_ample_work(self) -> bool:
        """Return whether most of what is held has yet to end."""
        return 2 * self._agent.supervisor.unfinished() > self._agent.machine.held()

    async def _pause(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    def _wake_up(self, call: object) -> None:
        self._wake.set()

    def _give_up_or_raise(self, error: grpc.aio.AioRpcError, credentials: Credentials) -> None:
        """Raise an error that is worth a retry; end the agent for any other."""
        problem = error_from(error, credentials.address)
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            # The token was replaced: the next round reads the credentials again.
            raise problem
        if isinstance(problem, UsageError):
            self._agent.leave(Leave(problem.exit_code, str(problem)))
            return
        raise problem

    def _request(self) -> pb.SynchronizeRequest:
        state = self._agent.machine.state()
        about = self._about
        request = pb.SynchronizeRequest(
            cluster_id=state.cluster_id,
            worker_id=about.worker_id,
            session=state.session,
            sequence=state.sequence,
            epoch=state.epoch,
            slots=about.slots,
            memory_bytes=about.memory_bytes,
            cpus=about.cpus,
            labels=about.labels,
            host=about.host,
            process_id=about.process_id,
            versions=self._versions,
            draining=state.draining,
            store_nonce=state.store_nonce,
            known_jobs=state.known_jobs,
            # The first answer names the store.
            park=self._agent.machine.accepted and not self._is_look,
        )
        self._is_look = False
        running = {one.attempt: one for one in self._agent.supervisor.running()}
        left = REQUEST_BYTES_MAX
        for held in state.held:
            message = request.held.add()
            if held.result is not None and left <= 0:
                # Its result goes with the next request; until then the master is to keep it.
                put_held(message, replace(held, state=AttemptState.RUNNING, result=None))
            else:
                put_held(message, _with_progress(held, running.get(held.attempt)))
            if message.state == pb.HeldAttempt.STATE_FINISHED:
                left -= message.ByteSize()
        return request

    def _take(self, response: pb.SynchronizeResponse) -> bool:
        """Pass an answer to the machine; return whether there was anything to do."""
        self.answered_at = self._clock.monotonic()
        if not response.exceed_session:
            self.connected.set()
            self._sync_seconds = response.sync_seconds
            self._look_seconds = response.look_seconds
        self._agent.note_begun()
        obeyed = self._agent.feed(
            Answered(
                cluster_id=response.cluster_id,
                epoch=response.epoch,
                sequence=response.sequence,
                wanted=tuple(map(assignment_from_proto, response.wanted)),
                jobs={info.job_id: job_spec_from_proto(info.spec) for info in response.jobs},
                drain=response.drain,
                leave=response.leave,
                state_uri=response.state_uri,
                exceed_session=response.exceed_session,
            )
        )
        self._agent.follow(frozenset(map(attempt_from_proto, response.followed)))
        return obeyed


def _with_progress(held: HeldAttempt, running: Running | None) -> HeldAttempt:
    if running is None or held.state is not AttemptState.RUNNING:
        return held
    return replace(held, elapsed_seconds=running.elapsed_seconds, progress=running.progress)


def _has_results(request: pb.SynchronizeRequest) -> bool:
    return any(held.state == pb.HeldAttempt.STATE_FINISHED for held in request.held)
