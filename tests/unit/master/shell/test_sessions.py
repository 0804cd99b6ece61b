"""Sessions and stored objects: who vanishes, what has room, and what is swept."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import cast

import pytest

from mrcore.errors import (
    JobEndedError,
    JobFailedError,
    LimitError,
    NotFoundError,
    UnknownJobError,
    UsageError,
)
from mrcore.master.core.events import CallsDone, CallsUnwanted, CancelAsked, CloseAsked, Event
from mrcore.master.core.limits import Limits
from mrcore.master.fleet.status import FleetStatus
from mrcore.master.shell import call_service
from mrcore.master.shell.call_service import CallService
from mrcore.master.shell.loop import Shell
from mrcore.master.shell.objects import KEPT_SECONDS, Objects
from mrcore.master.shell.sessions import Sessions
from mrcore.model import object_names
from mrcore.model.ids import TaskId
from mrcore.rpc.v1 import call_service_pb2 as pb
from mrcore.storage.memory import MemoryStorage
from tests.support.call_client import call_of, session_spec
from tests.support.fake_clock import FakeClock
from tests.support.fake_context import CONTEXT, AbortedError
from tests.support.master_shell import STATE, Gate, Idle, run, submitted, turns

CONTENT = b"a function"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def with_sessions(act: Callable[[Shell, Sessions, FakeClock], Awaitable[None]]) -> None:
    """Let a shell run while `act` works with its sessions, on a clock of their own."""

    async def main(shell: Shell, idle: Idle) -> None:
        clock = FakeClock()
        await act(shell, Sessions(shell, clock, Random(0), 60.0), clock)

    run(main)


def with_gate(act: Callable[[Shell, Sessions, Gate], Awaitable[None]]) -> None:
    """Let a shell run whose appends a gate holds back, which is open at first."""
    gate = Gate()
    gate.opened.set()

    async def main(shell: Shell, idle: Idle) -> None:
        del idle
        await act(shell, Sessions(shell, FakeClock(), Random(0), 60.0), gate)

    run(main, hook=gate)


async def keep_in_memory(shell: Shell, gate: Gate, event: Event) -> None:
    """Have an event stepped, and its facts held back at the gate."""
    gate.opened.clear()
    gate.reached.clear()
    await shell.send(event)
    await asyncio.to_thread(gate.reached.wait, 20)


def service_of(shell: Shell, sessions: Sessions) -> CallService:
    """Return the service for requests that need no objects."""
    return CallService(shell, sessions, cast("Objects", None), FleetStatus(), asyncio.Event())


def test_a_session_without_a_watch_is_ended_after_its_time() -> None:
    async def act(shell: Shell, sessions: Sessions, clock: FakeClock) -> None:
        session = await sessions.open("r", session_spec())
        assert await sessions.open("r", session_spec()) == session
        kept = await sessions.open("k", session_spec(keep=True))
        await sessions.add(kept, 0, (call_of(0),))
        assert sessions.vanished() == []
        clock.advance(59)
        assert sessions.vanished() == []
        watch = await sessions.watch(session)
        clock.advance(1_000)
        assert sessions.vanished() == []
        sessions.leave(session, watch)
        clock.advance(59)
        assert sessions.vanished() == []
        clock.advance(1)
        (event,) = sessions.vanished()
        assert (event.job_id, event.message) == (
            session,
            "Its client has not been there for 60 seconds.",
        )
        await shell.settle(event)
        with pytest.raises(UnknownJobError, match="has ended"):
            await sessions.session(session)
        # A kept one goes on, and ends an hour after its last call or watch.
        clock.advance(KEPT_SECONDS)
        assert sessions.vanished() == []

    with_sessions(act)


def test_a_kept_session_without_calls_ends_after_an_hour() -> None:
    async def act(shell: Shell, sessions: Sessions, clock: FakeClock) -> None:
        session = await sessions.open("k", session_spec(keep=True))
        assert sessions.vanished() == []
        clock.advance(3_599)
        assert sessions.vanished() == []
        clock.advance(1)
        assert [event.job_id for event in sessions.vanished()] == [session]

    with_sessions(act)


def test_a_watch_reports_calls_that_another_client_has_released() -> None:
    async def act(shell: Shell, sessions: Sessions, clock: FakeClock) -> None:
        service = service_of(shell, sessions)
        session = await sessions.open("k", session_spec(keep=True))
        await sessions.add(session, 0, tuple(map(call_of, range(4))))
        await shell.settle(CallsUnwanted(session, (0, 1)))
        await shell.settle(CallsDone(session, (0,)))
        request = pb.WatchCallsRequest(session_id=session)
        watch = service.WatchCalls(request, CONTEXT)
        first = await anext(watch)
        assert [(end.index, end.cancelled, end.released) for end in first.ended] == [
            (1, True, False),
            (0, False, True),
        ]
        assert not (await anext(watch)).ended
        # It has ended and is gone before this watch has looked.
        await shell.settle(CallsUnwanted(session, (3,)))
        await shell.settle(CallsDone(session, (3,)))
        (end,) = (await anext(watch)).ended
        assert (end.index, end.released, end.WhichOneof("outcome")) == (3, True, None)
        await watch.aclose()

    with_sessions(act)


def test_a_watch_that_begins_while_a_call_ends_gets_the_end_once() -> None:
    async def act(shell: Shell, sessions: Sessions, gate: Gate) -> None:
        session = await sessions.open("r", session_spec())
        await sessions.add(session, 0, (call_of(0), call_of(1)))
        await keep_in_memory(shell, gate, CallsUnwanted(session, (0,)))
        beginning = asyncio.create_task(sessions.watch(session))
        await turns()
        gate.opened.set()
        watch = await beginning
        await shell.settle(CallsUnwanted(session, (1,)))
        assert list(watch.ended) == [0, 1]

    with_gate(act)


def test_the_end_of_a_session_is_reported_once_it_is_durable() -> None:
    async def act(shell: Shell, sessions: Sessions, gate: Gate) -> None:
        session = await sessions.open("r", session_spec())
        await sessions.add(session, 0, (call_of(0),))
        await keep_in_memory(shell, gate, CloseAsked(session, "Its client has closed it."))
        watched = asyncio.create_task(sessions.check_live(session))
        asked = asyncio.create_task(sessions.add(session, 0, (call_of(0),)))
        await turns()
        assert not watched.done()
        assert not asked.done()
        gate.opened.set()
        with pytest.raises(JobFailedError, match="was ended: Its client has closed it"):
            await watched
        with pytest.raises(UnknownJobError, match="has ended: Its client has closed it"):
            await asked

    with_gate(act)


def test_a_release_is_reported_once_it_is_durable() -> None:
    async def act(shell: Shell, sessions: Sessions, gate: Gate) -> None:
        session = await sessions.open("r", session_spec())
        await sessions.add(session, 0, (call_of(0),))
        watch = service_of(shell, sessions).WatchCalls(
            pb.WatchCallsRequest(session_id=session), CONTEXT
        )
        assert not (await anext(watch)).ended
        await shell.settle(CallsUnwanted(session, (0,)))
        await keep_in_memory(shell, gate, CallsDone(session, (0,)))
        coming = asyncio.ensure_future(anext(watch))
        await turns()
        assert not coming.done()
        gate.opened.set()
        assert [end.released for end in (await coming).ended] == [True]
        await watch.aclose()

    with_gate(act)


def test_results_are_released_of_a_job_whose_end_was_durable_when_it_was_looked_at() -> None:
    async def act(shell: Shell, sessions: Sessions, gate: Gate) -> None:
        service = service_of(shell, sessions)  # without objects: a deletion is an error
        await shell.settle(submitted("job-a"))
        await keep_in_memory(shell, gate, submitted("job-b"))
        request = pb.ReleaseResultsRequest(job_id="job-a")
        asked = asyncio.ensure_future(service.ReleaseResults(request, CONTEXT))
        await turns()
        await shell.send(CancelAsked("job-a", "enough"))
        await turns()
        job = shell.machine.cluster.job("job-a")
        assert job is not None
        assert job.state.final
        assert not asked.done()
        gate.opened.set()
        with pytest.raises(AbortedError, match="Job job-a has not ended"):
            await asked

    with_gate(act)


def test_each_watch_reports_what_has_begun() -> None:
    async def act(shell: Shell, sessions: Sessions, clock: FakeClock) -> None:
        del clock
        session = await sessions.open("r", session_spec())
        first, second = await sessions.watch(session), await sessions.watch(session)
        shell.machine.calls.started[session] = [3, 5]
        assert sessions.started(session, first) == [3, 5]
        assert sessions.started(session, first) == []
        assert sessions.started(session, second) == [3, 5]

    with_sessions(act)


def test_ends_are_sent_in_messages_of_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_service, "MESSAGE_BYTES", 1)

    async def act(shell: Shell, sessions: Sessions, clock: FakeClock) -> None:
        del clock
        session = await sessions.open("r", session_spec())
        await sessions.add(session, 0, tuple(map(call_of, range(2))))
        await shell.settle(CallsUnwanted(session, (0, 1)))
        watch = service_of(shell, sessions).WatchCalls(
            pb.WatchCallsRequest(session_id=session), CONTEXT
        )
        sent = [[end.index for end in (await anext(watch)).ended] for _ in range(3)]
        assert sent == [[0], [1], []]
        await watch.aclose()

    with_sessions(act)


def test_calls_beyond_a_limit_are_refused_with_a_sentence() -> None:
    async def act(shell: Shell, sessions: Sessions, clock: FakeClock) -> None:
        cluster = shell.machine.cluster
        session = await sessions.open("r", session_spec())
        cluster.limits = Limits(calls_max=3, session_calls_max=5)
        assert await sessions.add(session, 0, tuple(map(call_of, range(3)))) == 3
        assert await sessions.add(session, 0, tuple(map(call_of, range(3)))) == 3  # a repeat
        with pytest.raises(LimitError, match="keeps 3 calls at most"):
            await sessions.add(session, 3, (call_of(3),))
        with pytest.raises(JobEndedError, match="may have 5 calls"):
            await sessions.add(session, 3, tuple(map(call_of, range(3))))
        cluster.limits = Limits(session_bytes_max=5_000)
        with pytest.raises(LimitError, match="5,000 is the limit"):
            await sessions.add(session, 3, (call_of(3),))
        cluster.limits = Limits(calls_bytes_max=5_000)
        with pytest.raises(LimitError, match="of all calls take"):
            await sessions.add(session, 3, (call_of(3),))
        cluster.limits = Limits()
        with pytest.raises(JobEndedError, match="sent before call 3"):
            await sessions.add(session, 4, (call_of(4),))
        with pytest.raises(JobEndedError, match="has not been added yet"):
            await sessions.add(session, 3, (call_of(3, (TaskId(session, 0, 3),)),))

    with_sessions(act)


async def parts(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def test_objects_are_kept_for_an_hour_and_while_calls_name_them() -> None:
    storage, clock = MemoryStorage(), FakeClock()
    named, other = hashlib.sha256(b"named").hexdigest(), hashlib.sha256(b"other").hexdigest()
    ended, live = (
        object_names.session_results_prefix(STATE, name) + "call-00000@1.1"
        for name in ("ended-1", "live-1")
    )

    def sweep() -> int:
        return objects.sweep({named}, "live-1".__eq__)

    async def put() -> None:
        for sha256, content in ((SHA256, CONTENT), (named, b"named"), (other, b"other")):
            assert await objects.put(sha256, parts(content)) == object_names.object_uri(
                STATE, sha256
            )
        with pytest.raises(UsageError, match="does not have the SHA-256"):
            await objects.put("0" * 64, parts(CONTENT))
        with pytest.raises(NotFoundError, match="or store it with PutObject"):
            await objects.check(["0" * 64])

    objects = Objects(storage, STATE, clock)
    for uri in (ended, live):
        with storage.open_write(uri) as writer:
            writer.write(b"value")
            writer.commit()
    asyncio.run(put())
    clock.advance(KEPT_SECONDS - 1)
    assert sweep() == 0, "a master that has just begun does not know what is wanted"
    objects.want([other])
    clock.advance(1)
    assert sweep() == 2  # the function that nobody named, and the value of the ended session
    left = {info.uri for info in storage.list(f"{STATE}/")}
    assert left == {live, *(object_names.object_uri(STATE, each) for each in (named, other))}
    clock.advance(KEPT_SECONDS)
    assert sweep() == 1


class SlowDeletion(MemoryStorage):
    """A store whose deletions wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.let_go = threading.Event()

    def delete(self, uri: str, *, generation: str | None = None) -> bool:
        self.begun.set()
        assert self.let_go.wait(10)
        return super().delete(uri, generation=generation)


def test_a_deletion_of_the_sweep_holds_up_those_alone_who_want_the_same_object() -> None:
    storage, clock = SlowDeletion(), FakeClock()
    other = hashlib.sha256(b"other").hexdigest()

    async def act() -> None:
        objects = Objects(storage, STATE, clock)
        await objects.put(SHA256, parts(CONTENT))
        clock.advance(KEPT_SECONDS)
        sweep = asyncio.create_task(asyncio.to_thread(objects.sweep, (), lambda _: True))
        await asyncio.to_thread(storage.begun.wait, 10)
        # The object is half gone: it is neither found nor kept, and not stored beside its deletion.
        given_up = asyncio.create_task(objects.check([SHA256]))
        wanted = asyncio.create_task(objects.check([SHA256]))
        stored = asyncio.create_task(objects.put(SHA256, parts(CONTENT)))
        read = asyncio.create_task(_content(objects, SHA256))
        await objects.put(other, parts(b"other"))
        await objects.check([other])
        assert not any(one.done() for one in (wanted, stored, read, sweep))
        given_up.cancel()
        storage.let_go.set()
        assert await sweep == 1
        await stored
        outcomes = await asyncio.gather(wanted, read, given_up, return_exceptions=True)
        assert isinstance(outcomes[2], asyncio.CancelledError)
        assert await _content(objects, SHA256) == CONTENT

    asyncio.run(act())


def test_what_is_being_read_is_not_deleted() -> None:
    storage, clock = MemoryStorage(), FakeClock()

    async def act() -> None:
        objects = Objects(storage, STATE, clock)
        await objects.put(SHA256, parts(CONTENT))
        chunks = objects.read_stored(SHA256)
        first = await anext(chunks)
        clock.advance(KEPT_SECONDS)
        assert await asyncio.to_thread(objects.sweep, (), lambda _: True) == 0
        assert first + b"".join([each async for each in chunks]) == CONTENT
        clock.advance(KEPT_SECONDS)
        assert await asyncio.to_thread(objects.sweep, (), lambda _: True) == 1

    asyncio.run(act())


async def _content(objects: Objects, sha256: str) -> bytes:
    return b"".join([each async for each in objects.read_stored(sha256)])
