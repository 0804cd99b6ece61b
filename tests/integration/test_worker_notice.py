"""A worker whose machine is taken away, or whose master is."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from pathlib import Path

import pytest

from mrcore.rpc.v1 import failure_pb2
from mrcore.util import host
from mrcore.worker.core.commands import Leave
from mrcore.worker.core.events import Answered, DrainBegun
from mrcore.worker.shell import preemption, synchronizer
from tests.support.fake_clock import FakeClock
from tests.support.idle_worker import idle_worker
from tests.support.metadata import metadata_server
from tests.support.scripted_master import FakeMaster, Worker, conversation, start_worker

HEARD_SECONDS = 2.0
"""From the notice to the request that hands back, at most."""


def test_a_preemption_notice_hands_back_what_cannot_finish(tmp_path: Path) -> None:
    with metadata_server() as metadata:

        @conversation("--preemption-notice", GCE_METADATA_HOST=metadata.host)
        async def talk(master: FakeMaster, worker: Worker) -> None:
            both = master.assignment(0, "wait\n"), master.assignment(1, "fine\n")
            master.answer(await master.greet(), *both)
            await worker.begun()
            await asyncio.to_thread(metadata.parked.acquire)
            metadata.preempt()
            call = await master.until(lambda call: call.request.draining, *both)
            assert call.failure(1).kind == failure_pb2.Failure.KIND_PREEMPTED
            assert "preempted" in call.failure(1).message

        talk(tmp_path)


def test_a_notice_from_before_the_worker_is_heard(tmp_path: Path) -> None:
    with metadata_server() as metadata:
        metadata.preempt()

        @conversation(GCE_METADATA_HOST=metadata.host)
        async def talk(master: FakeMaster, worker: Worker) -> None:
            code, log = await worker.end()
            assert code == 0
            assert "this machine is preempted; no master knew of this worker" in log

        talk(tmp_path)


def test_each_call_waits_for_a_change_from_what_the_last_one_said() -> None:
    heard = threading.Event()
    clock = FakeClock()
    with metadata_server() as metadata:
        metadata.refuse = 2
        thread = threading.Thread(target=preemption.wait, args=(metadata.host, clock, heard.set))
        thread.start()
        metadata.parked.acquire()
        metadata.touch()  # the minute is over, and nothing has changed
        metadata.parked.acquire()
        assert not heard.is_set()
        metadata.preempt()
        thread.join()
    assert heard.is_set()
    first, *rest = metadata.asked
    assert first == {}, "a value that was there before cannot be waited for"
    waiting = {"wait_for_change": "true", "timeout_sec": "60", "last_etag": "etag/FALSE"}
    assert rest == [waiting, waiting]
    assert sum(clock.slept) <= HEARD_SECONDS - synchronizer.PATIENCE_SECONDS, "two calls had failed"


def test_news_of_a_drain_goes_out_within_two_seconds(tmp_path: Path) -> None:
    """The longest way: results are being reported, and more news has just been put off."""

    async def run() -> None:
        clock = FakeClock()
        line, agent = idle_worker(tmp_path, clock)
        agent.machine.state()
        agent.machine.step(Answered(cluster_id="c", epoch=1, sequence=1))
        agent.machine.state()
        assert line._due(clock.now, synchronizer.PATIENCE_SECONDS) is None, "nothing to say"
        agent.feed(DrainBegun("this machine is preempted"))
        due = line._due(clock.now, synchronizer.PATIENCE_SECONDS)
        assert due is not None
        assert due + preemption.PAUSE_SECONDS - clock.now <= HEARD_SECONDS

    asyncio.run(run())


@pytest.mark.parametrize("master_was_there", [False, True])
def test_an_orphan_leaves_with_a_code_of_its_own(tmp_path: Path, master_was_there: bool) -> None:
    async def run() -> tuple[int, str]:
        master = FakeMaster(tmp_path)
        await master.start()
        if not master_was_there:
            await master.stop()
        async with asyncio.timeout(50), start_worker(tmp_path, "--orphan-timeout", "1s") as worker:
            if master_was_there:
                await master.greet()
                await master.stop()
            return await worker.end()

    code, log = asyncio.run(run())
    assert code == synchronizer.ORPHANED
    assert "has answered for 1 s, so this worker ends: start it again once a master leads" in log


def test_every_answer_puts_the_end_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def run() -> Leave:
        clock = FakeClock()
        line, agent = idle_worker(tmp_path, clock)

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            clock.advance(seconds)
            if len(slept) < 3:
                line.answered_at = clock.now - 15.0

        monkeypatch.setattr(asyncio, "sleep", sleep)
        await line.leave_when_orphaned(60.0)
        return await agent.left()

    assert asyncio.run(run()).code == synchronizer.ORPHANED
    assert slept == [60.0, 45.0, 45.0]


def test_slots_may_follow_the_cores() -> None:
    from mrcore.worker.main import _parser

    assert _parser().parse_args(["--slots", "auto"]).slots == host.cores()


def test_systemd_is_told_of_the_life_of_a_worker(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(f"\0mrcore-worker-test-{os.getpid()}")
        line.setblocking(False)

        @conversation(NOTIFY_SOCKET=f"@mrcore-worker-test-{os.getpid()}", WATCHDOG_USEC="300000")
        async def talk(master: FakeMaster, worker: Worker) -> None:
            loop = asyncio.get_running_loop()
            assert await loop.sock_recv(line, 4096) == b"READY=1"
            sign = await loop.sock_recv(line, 4096)
            assert sign.startswith(b"STATUS=0 of 1 slots busy")
            assert sign.endswith(b"\nWATCHDOG=1")
            worker.process.terminate()
            while b"STOPPING=1" not in (told := await loop.sock_recv(line, 4096)):
                assert told.startswith(b"STATUS=")
            assert told == b"STOPPING=1\nSTATUS=draining: got SIGTERM"

        talk(tmp_path)
