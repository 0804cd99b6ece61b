"""The shell while nothing happens, and what leaves it only after the facts of its own step."""

from __future__ import annotations

import asyncio
import threading
from unittest.mock import patch

import pytest

from mrcore.errors import UnavailableError
from mrcore.master.core.commands import Reply
from mrcore.master.core.events import CommitPrepared, Event, Synced
from mrcore.master.core.orders import Job
from mrcore.master.errors import FencedError
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.loop import Shell
from mrcore.model.attempts import AttemptState, HeldAttempt
from mrcore.model.commit_plan import CommitPlan
from mrcore.model.task import TaskOutput
from mrcore.util.clock import SYSTEM
from tests.support.master_shell import (
    STATE,
    Gate,
    Idle,
    failure_of,
    refusal,
    run,
    submitted,
    synced,
    turns,
)


async def finish(shell: Shell, sequence: int) -> Reply:
    """Report the one attempt that the worker holds as finished; return the answer."""
    (worker,) = shell.machine.cluster.sorted_workers()
    held = tuple(
        HeldAttempt(attempt, AttemptState.FINISHED, result=TaskOutput(digest=b"x"))
        for attempt in worker.held
    )
    answer = await shell.synchronize(Synced("w1", 1, sequence, 0, slots=1, held=held))
    assert isinstance(answer, Reply)
    return answer


def test_the_answer_to_a_result_waits_until_the_result_is_durable() -> None:
    gate = Gate()
    gate.opened.set()

    async def act(shell: Shell, idle: Idle) -> None:
        await shell.settle(submitted())
        await shell.synchronize(synced(1))
        await shell.flushed()
        gate.opened.clear()
        gate.reached.clear()
        answering = asyncio.ensure_future(finish(shell, 2))
        await asyncio.to_thread(gate.reached.wait, 20)  # nothing before it waits for the journal
        await turns()
        assert not answering.done()
        gate.opened.set()
        (wanted,) = (await answering).wanted
        assert str(wanted.attempt.task) == "job-a/stage1-00000"

    run(act, gate)


def test_a_commit_begins_once_that_is_durable() -> None:
    gate = Gate()
    gate.opened.set()

    async def act(shell: Shell, idle: Idle) -> None:
        verified, told = asyncio.Event(), asyncio.Queue[str]()

        async def carry_out(command: Job) -> Event:
            told.put_nowait(type(command).__name__)
            await verified.wait()
            return CommitPrepared("job-a", CommitPlan())

        with patch.object(idle, "carry_out", carry_out):
            await shell.settle(submitted())
            await shell.synchronize(synced(1))
            for sequence in (2, 3):
                await finish(shell, sequence)
            assert await told.get() == "PrepareCommit"
            gate.opened.clear()
            gate.reached.clear()
            verified.set()
            await asyncio.to_thread(gate.reached.wait, 20)
            await turns()
            assert told.empty()
            gate.opened.set()
            assert await told.get() == "RunCommit"

    run(act, gate)


def test_a_former_process_hears_at_once_that_a_new_one_bears_its_id() -> None:
    async def act(shell: Shell, idle: Idle) -> None:
        async with asyncio.TaskGroup() as group:
            former = group.create_task(refusal(shell, synced(1, park=True)))
            await turns()
            assert not former.done()
            await shell.synchronize(synced(1, session=2))
            assert await former == "A new process has this worker's id."

    run(act)


def test_an_idle_master_learns_that_it_was_replaced() -> None:
    async def act(shell: Shell, idle: Idle) -> None:
        storage = shell._journal._storage
        for _ in Journal(storage, STATE, "other", SYSTEM).take_over():
            pass
        await asyncio.Event().wait()

    with (
        patch("mrcore.master.shell.loop.FENCE_SECONDS", 0.01),
        pytest.raises(BaseExceptionGroup) as caught,
    ):
        run(act)
    assert isinstance(failure_of(caught.value), FencedError)


def test_a_store_that_does_not_answer_an_idle_master_is_asked_again() -> None:
    asked = threading.Semaphore(0)
    looks = 0

    def hook(operation: str, uri: str) -> None:
        nonlocal looks
        if operation == "stat":
            looks += 1
            asked.release()
            if looks < 3:
                raise UnavailableError("not now")

    async def act(shell: Shell, idle: Idle) -> None:
        for _ in range(4):
            assert await asyncio.to_thread(asked.acquire, timeout=20)
        await shell.settle(submitted())
        assert shell.machine.cluster.job("job-a") is not None

    with patch("mrcore.master.shell.loop.FENCE_SECONDS", 0.01):
        run(act, hook)


def test_answers_that_nobody_waits_for_do_not_pile_up_behind_a_blocked_journal() -> None:
    gate = Gate()

    async def act(shell: Shell, idle: Idle) -> None:
        await shell.send(submitted())
        await asyncio.to_thread(gate.reached.wait, 20)
        calls = []
        for sequence in range(1, 200):  # each call makes the one before it void
            calls.append(asyncio.ensure_future(shell.synchronize(synced(sequence))))
            await turns()
        reading = asyncio.ensure_future(shell.read(lambda machine: machine.cluster.epoch))
        await turns()
        assert len(shell._outbox.commands) <= 50
        gate.opened.set()
        assert isinstance(await calls[-1], Reply)
        assert await reading == 1
        errors = await asyncio.gather(*calls[:-1], return_exceptions=True)
        assert all(isinstance(error, UnavailableError) for error in errors)

    with patch("mrcore.master.core.held_back.HELD_BACK_MAX", 40):
        run(act, gate)


def test_reads_whose_callers_hung_up_do_not_pile_up_behind_a_blocked_journal() -> None:
    gate = Gate()

    async def act(shell: Shell, idle: Idle) -> None:
        await shell.send(submitted())
        await asyncio.to_thread(gate.reached.wait, 20)
        for _ in range(200):
            reading = asyncio.ensure_future(shell.flushed())
            await turns()
            reading.cancel()
            await turns()
        assert len(shell._readers) <= 50
        gate.opened.set()
        await shell.flushed()

    with patch("mrcore.master.core.held_back.HELD_BACK_MAX", 40):
        run(act, gate)
