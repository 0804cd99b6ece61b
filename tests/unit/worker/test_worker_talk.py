"""The conversation of a worker with a master that tests script, on a clock that tests move."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from mrcore.errors import UsageError
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.convert import job_spec_to_proto
from mrcore.rpc.masters import MASTERS_KEY
from mrcore.rpc.v1 import worker_service_pb2 as pb
from mrcore.worker.core.events import NonceRead
from mrcore.worker.shell import synchronizer
from mrcore.worker.shell.agent import Agent
from mrcore.worker.shell.synchronizer import (
    AMPLE_LINGER_SECONDS,
    CALL_SECONDS,
    EAGER_PAUSE_SECONDS,
    LINGER_SECONDS,
    Synchronizer,
)
from tests.support.fake_clock import FakeClock
from tests.support.fake_worker import make_spec
from tests.support.idle_worker import idle_worker

HERE = Credentials(address="127.0.0.1:1", token="t")
SYNC_SECONDS = 40.0


class Reply(asyncio.Future[pb.SynchronizeResponse]):
    """As much of gRPC's call as the worker uses."""

    async def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the addresses of the masters."""
        return ((MASTERS_KEY, "127.0.0.1:1,127.0.0.1:2"),)


@dataclasses.dataclass
class Call:
    """A Synchronize under way."""

    request: pb.SynchronizeRequest
    timeout: float | None
    begun_at: float
    future: asyncio.Future[pb.SynchronizeResponse]

    def answer(self, **fields: Any) -> None:
        """Answer as a master of the cluster `c`."""
        told = {"cluster_id": "c", "epoch": 1, "sync_seconds": SYNC_SECONDS, **fields}
        response = pb.SynchronizeResponse(sequence=self.request.sequence, **told)
        self.future.set_result(response)


class Talk:
    """A worker that talks, and the master's end of it, which is also the stub."""

    def __init__(self, link: Synchronizer, agent: Agent, clock: FakeClock) -> None:
        self.link = link
        self.agent = agent
        self.clock = clock
        self._calls: asyncio.Queue[Call] = asyncio.Queue()

    def Synchronize(  # noqa: N802 - named by the proto
        self, request: pb.SynchronizeRequest, timeout: float | None = None
    ) -> Reply:
        """Begin a call, which waits for the test."""
        future = Reply(loop=asyncio.get_running_loop())
        self._calls.put_nowait(Call(request, timeout, self.clock.now, future))
        return future

    async def next(self) -> Call:
        """Wait for the worker's next call."""
        async with asyncio.timeout(10):
            return await self._calls.get()


def talking(test: Callable[[Talk], Awaitable[None]]) -> Callable[[Path], None]:
    """Run a test beside a worker that talks."""

    async def run(folder: Path) -> None:
        clock = FakeClock()
        link, agent = idle_worker(folder, clock)
        talk = Talk(link, agent, clock)
        pause = link._pause

        async def pass_time(seconds: float | None) -> None:
            """Wait as the link does; where it waits for a time, that passes at once."""
            if seconds is None or link._wake.is_set():
                await pause(seconds)
            else:
                clock.advance(seconds)
                await asyncio.sleep(0)

        stub: Any = talk
        with patch.object(link, "_pause", pass_time):
            async with asyncio.TaskGroup() as group:
                worker = group.create_task(link._synchronize_forever(stub, HERE))
                await test(talk)
                worker.cancel()

    def call(tmp_path: Path) -> None:
        asyncio.run(run(tmp_path))

    call.__name__ = test.__name__
    return call


@talking
async def test_a_call_ends_by_itself_some_time_after_the_master_should_have_answered(
    talk: Talk,
) -> None:
    first = await talk.next()
    assert first.timeout is not None
    assert first.timeout > CALL_SECONDS
    first.answer()
    assert (await talk.next()).timeout == SYNC_SECONDS + CALL_SECONDS


@talking
async def test_news_ends_a_call_that_is_parked(talk: Talk) -> None:
    (await talk.next()).answer()
    parked = await talk.next()
    assert parked.request.store_nonce == ""
    talk.agent.feed(NonceRead("n"))
    following = await talk.next()
    assert parked.future.cancelled()
    assert following.request.store_nonce == "n"
    assert following.request.sequence == parked.request.sequence + 1


@talking
async def test_a_master_that_does_not_park_is_not_called_without_a_pause(talk: Talk) -> None:
    calls = []
    for _ in range(4):
        calls.append(await talk.next())
        calls[-1].answer()
    times = [call.begun_at for call in calls]
    waited = [after - before for before, after in itertools.pairwise(times)]
    assert waited == [pytest.approx(EAGER_PAUSE_SECONDS)] * 3


@talking
async def test_each_answer_is_a_sign_of_life(talk: Talk) -> None:
    began = talk.link.answered_at
    first = await talk.next()
    assert not talk.link.connected.is_set()
    talk.clock.advance(7.0)
    first.answer()
    await talk.next()
    assert talk.link.answered_at == began + 7.0
    assert talk.link.connected.is_set()


@talking
async def test_the_master_is_reminded_of_the_jobs_that_the_worker_knows(talk: Talk) -> None:
    spec = job_spec_to_proto(make_spec("mem://in", "mem://out", "0" * 64))
    first = await talk.next()
    assert list(first.request.known_jobs) == []
    first.answer(jobs=[pb.JobInfo(job_id="j", spec=spec)])
    assert list((await talk.next()).request.known_jobs) == ["j"]


async def waits_before_calls(talk: Talk, works: list[tuple[list[int], int]]) -> list[float]:
    """Answer a call for each of these works; return the time until the next one.

    A work is the numbers of unfinished orders, look by look, and the attempts that are held.
    """
    spec = job_spec_to_proto(make_spec("mem://in", "mem://out", "0" * 64))
    call = await talk.next()
    waited = []
    for number, (unfinished, held) in enumerate(works):

        def left(unfinished: list[int] = unfinished) -> int:
            return unfinished.pop(0) if len(unfinished) > 1 else unfinished[0]

        with (
            patch.object(talk.agent.supervisor, "unfinished", left),
            patch.object(talk.agent.machine, "held", return_value=held),
        ):
            call.answer(jobs=[pb.JobInfo(job_id=f"j{number}", spec=spec)])
            following = await talk.next()
        waited.append(following.begun_at - call.begun_at)
        call = following
    return waited


@talking
async def test_the_next_call_waits_a_moment_for_work_that_a_slot_has_begun_at_once(
    talk: Talk,
) -> None:
    in_line = talk.agent.supervisor.slots + 1
    works = [([1, 0], 1), ([1], 1), ([in_line], 2 * in_line)]
    assert await waits_before_calls(talk, works) == [0.0, pytest.approx(LINGER_SECONDS), 0.0]


@talking
async def test_the_next_call_waits_while_most_of_the_work_has_yet_to_end(talk: Talk) -> None:
    waited = await waits_before_calls(talk, [([100], 120), ([60], 120)])
    assert waited == [pytest.approx(AMPLE_LINGER_SECONDS), 0.0]


@talking
async def test_a_worker_that_drains_waits_for_no_more_ends(talk: Talk) -> None:
    talk.agent.machine.draining = True
    assert await waits_before_calls(talk, [([100], 120)]) == [0.0]


@talking
async def test_a_worker_reports_what_runs_more_often_while_somebody_looks_on(talk: Talk) -> None:
    call = await talk.next()
    with patch.object(talk.agent.supervisor, "unfinished", lambda: 1):
        call.answer(look_seconds=2.0)
        parked = await talk.next()
        following = await talk.next()
        assert parked.future.cancelled()
        assert following.begun_at - parked.begun_at == pytest.approx(2.0)
        # It is answered at once: a worker that gets no answer takes its master for gone.
        assert (parked.request.park, following.request.park) == (True, False)
        following.answer(look_seconds=2.0)
        parked = await talk.next()
        following = await talk.next()
        assert (parked.request.park, following.request.park) == (True, False)
        following.answer()
        parked = await talk.next()
        assert parked.request.park
    talk.agent.feed(NonceRead("n"))
    assert (await talk.next()).request.store_nonce == "n"
    assert parked.future.cancelled(), "nobody looks on: only news ended it"


@talking
async def test_a_worker_learns_the_other_masters_and_tries_them_in_turn(talk: Talk) -> None:
    (await talk.next()).answer()
    await talk.next()
    link = talk.link
    with patch.object(synchronizer, "find_credentials", return_value=HERE) as find:
        assert link._find() == HERE
        link._failures = 1
        other = msgspec.structs.replace(HERE, address="127.0.0.1:2")
        tried = [link._find().address for _ in range(3)]
        assert tried == [other.address, HERE.address, other.address]
        find.side_effect = UsageError("The file is gone.")
        assert link._find().address == HERE.address
