"""The shell: nothing leaves before it is durable, and deafness costs nobody a lease."""

from __future__ import annotations

import asyncio
from random import Random
from unittest.mock import patch

import pytest

from mrcore.errors import DiskFullError, UnavailableError
from mrcore.master.core.commands import Reply, Superseded
from mrcore.master.core.compaction import ENTRIES_MIN
from mrcore.master.core.events import CancelAsked, DrainAsked
from mrcore.master.core.machine import Machine
from mrcore.master.errors import FencedError
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.loop import BATCH_MAX, Shell
from mrcore.model.job import JobState
from mrcore.storage.faulty import FaultKind
from mrcore.util.clock import SYSTEM
from tests.support.fake_clock import FakeClock
from tests.support.master_shell import (
    STATE,
    Gate,
    Idle,
    failure_of,
    refusal,
    run,
    submitted,
    synced,
    take_over,
    turns,
)


def lease_from(shell: Shell) -> float:
    (worker,) = shell.machine.cluster.sorted_workers()
    return worker.lease_from


def test_a_read_waits_for_the_flush_of_what_it_shows() -> None:
    gate = Gate()

    async def act(shell: Shell, idle: Idle) -> None:
        async with asyncio.TaskGroup() as group:
            settling = group.create_task(shell.settle(submitted()))
            await asyncio.to_thread(gate.reached.wait, 20)
            reading = group.create_task(shell.read(lambda machine: machine.cluster.job("job-a")))
            await turns()
            assert shell.machine.cluster.job("job-a") is not None
            assert not settling.done()
            assert not reading.done()
            gate.opened.set()
            await settling
            assert await reading is not None

    run(act, gate)


def test_stepping_goes_on_while_an_append_is_in_flight() -> None:
    gate = Gate()

    async def act(shell: Shell, idle: Idle) -> None:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(shell.settle(submitted("job-a")))
            await asyncio.to_thread(gate.reached.wait, 20)
            rest = [group.create_task(shell.settle(submitted(f"job-{n}"))) for n in range(50)]
            while shell.machine.cluster.job("job-49") is None:  # noqa: ASYNC110 - nobody tells of a step
                await asyncio.sleep(0.001)
            assert not first.done()
            assert not any(one.done() for one in rest)
            gate.opened.set()
        # Fifty submissions that came during one append went together into the next.
        assert shell._journal.number <= 4

    run(act, gate)


def test_a_reply_waits_for_the_facts_of_its_step() -> None:
    gate = Gate()

    async def act(shell: Shell, idle: Idle) -> None:
        async with asyncio.TaskGroup() as group:
            settling = group.create_task(shell.settle(submitted()))
            await asyncio.to_thread(gate.reached.wait, 20)
            answer = group.create_task(shell.synchronize(synced(1)))
            await turns()
            assert not answer.done()
            gate.opened.set()
            reply = await answer
            assert isinstance(reply, Reply)
            assert [wanted.attempt.task.job_id for wanted in reply.wanted] == ["job-a"]
            await settling

    run(act, gate)


def test_a_later_request_makes_a_parked_one_void() -> None:
    async def act(shell: Shell, idle: Idle) -> None:
        async with asyncio.TaskGroup() as group:
            parked = group.create_task(refusal(shell, synced(1, park=True)))
            await turns()
            assert not parked.done()
            assert isinstance(await shell.synchronize(synced(2)), Reply)
            assert "later request" in await parked

    run(act)


def test_a_request_from_the_past_is_refused_at_once() -> None:
    async def act(shell: Shell, idle: Idle) -> None:
        await shell.synchronize(synced(5))
        for sequence in (4, 5):
            assert "later request" in await refusal(shell, synced(sequence))
        assert not shell._parked
        assert isinstance(await shell.synchronize(synced(1, session=2)), Reply)

    run(act)


def test_a_parked_request_whose_caller_hung_up_is_forgotten() -> None:
    async def act(shell: Shell, idle: Idle) -> None:
        async with asyncio.TaskGroup() as group:
            parked = group.create_task(shell.synchronize(synced(1, park=True)))
            await turns()
            assert shell._parked
            parked.cancel()
        assert not shell._parked

    run(act)


def test_a_request_that_the_machine_has_ignored_is_refused_after_a_while() -> None:
    async def act(shell: Shell, idle: Idle) -> None:
        async with asyncio.TaskGroup() as group:
            parked = group.create_task(refusal(shell, synced(1, park=True)))
            await turns()
            shell._doubted.set()  # a look at once, and not after ten seconds
            await turns()
            assert not parked.done()
            with patch("mrcore.master.shell.loop.PARK_SECONDS_MAX", -1.0):
                shell._doubted.set()
                assert "overtaken" in await parked
        assert not shell._parked

    run(act)


def test_a_lower_session_is_told_what_to_exceed() -> None:
    async def act(shell: Shell, idle: Idle) -> None:
        await shell.synchronize(synced(1, session=8))
        answer = await shell.synchronize(synced(5, session=7))
        assert isinstance(answer, Superseded)
        assert answer.exceed_session == 8

    run(act)


def test_parked_requests_are_dismissed_at_the_end() -> None:
    async def act(shell: Shell, idle: Idle) -> None:
        async with asyncio.TaskGroup() as group:
            parked = group.create_task(refusal(shell, synced(1, park=True)))
            await turns()
            shell.dismiss()
            assert "ending" in await parked

    run(act)


def test_a_journal_that_cannot_be_written_ends_the_shell_and_answers_nobody() -> None:
    answered: list[str] = []

    async def act(shell: Shell, idle: Idle) -> None:
        await shell.settle(submitted())
        answered.append("settled")

    with pytest.raises(BaseExceptionGroup) as caught:
        run(act, faults={0: FaultKind.BEFORE}, error=DiskFullError)
    assert isinstance(failure_of(caught.value), DiskFullError)
    assert not answered


def test_a_worker_from_the_future_makes_a_fenced_master_leave() -> None:
    async def act(shell: Shell, idle: Idle) -> None:
        with pytest.raises(UnavailableError, match="never had the epoch 5"):
            await shell.synchronize(synced(1, epoch=5))
        take_over(shell._journal._storage._inner)  # type: ignore[attr-defined]
        await shell.synchronize(synced(2, epoch=5))

    with pytest.raises(BaseExceptionGroup) as caught:
        run(act)
    assert isinstance(failure_of(caught.value), FencedError)


def test_a_blocked_append_makes_leases_longer() -> None:
    gate, clock = Gate(), FakeClock()

    async def act(shell: Shell, idle: Idle) -> None:
        await shell.synchronize(synced(1))
        before = lease_from(shell)
        async with asyncio.TaskGroup() as group:
            settling = group.create_task(shell.settle(submitted()))
            await asyncio.to_thread(gate.reached.wait, 20)
            for _ in range(8):  # 3.2 s in which the loop is awake, and nobody can be answered
                clock.advance(0.4)
                await shell.send(DrainAsked("nobody"))
                await turns()
            assert lease_from(shell) - before == pytest.approx(3.2, abs=0.3)
            gate.opened.set()
            await settling

    run(act, gate, clock=clock)


def test_a_blocked_loop_makes_leases_longer() -> None:
    clock = FakeClock()

    async def act(shell: Shell, idle: Idle) -> None:
        await shell.synchronize(synced(1))
        await turns()
        before = lease_from(shell)
        clock.advance(30.0)  # what a stopped process looks like when it goes on
        await shell.send(DrainAsked("nobody"))
        await turns()
        assert lease_from(shell) - before == pytest.approx(30.0, abs=0.6)

    run(act, clock=clock)


def test_the_end_of_a_job_is_told_once_it_is_durable() -> None:
    async def act(shell: Shell, idle: Idle) -> None:
        await shell.settle(submitted())
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(shell.job_ended(20.0))
            await turns()
            await shell.settle(CancelAsked("job-a", "enough"))
            await waiting
        job = shell.machine.cluster.job("job-a")
        assert job is not None
        assert job.state is JobState.CANCELLED
        await shell.quiesce(5.0)
        assert [type(command).__name__ for command in idle.told] == ["CleanUp"]

    run(act)


def test_leases_end_under_a_flood_of_requests() -> None:
    clock = FakeClock()

    async def flood(shell: Shell) -> None:
        while True:
            await shell.send(DrainAsked("nobody"))
            clock.advance(0.000_1)

    async def act(shell: Shell, idle: Idle) -> None:
        await shell.synchronize(synced(1))
        async with asyncio.TaskGroup() as group:
            # More than one look at the inbox takes out: it is never empty again.
            floods = [group.create_task(flood(shell)) for _ in range(2 * BATCH_MAX)]
            await asyncio.sleep(0)
            while shell.machine.cluster.sorted_workers():
                assert not shell._inbox.empty()
                await asyncio.sleep(0)
            for one in floods:
                one.cancel()

    run(act, clock=clock)


def test_what_had_come_before_a_deadline_was_noticed_is_stepped_before_it_counts() -> None:
    clock = FakeClock()

    async def act(shell: Shell, idle: Idle) -> None:
        await shell.synchronize(synced(1))
        (worker,) = shell.machine.cluster.sorted_workers()
        for _ in range(20):  # to the end of its lease, slowly enough for no stall
            clock.advance(0.495)
            await shell.send(DrainAsked("nobody"))
            await turns()
        for _ in range(3 * BATCH_MAX):
            shell._inbox.put_nowait((DrainAsked("nobody"), None))
        clock.advance(0.4)
        assert isinstance(await shell.synchronize(synced(2)), Reply)
        assert shell.machine.cluster.sorted_workers() == [worker], (
            "it had been forgotten, and came anew"
        )

    run(act, clock=clock)


def test_the_end_does_not_wait_for_a_store_that_does_not_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate, clock = Gate(), FakeClock()

    async def act(shell: Shell, idle: Idle) -> None:
        await shell.send(submitted())
        await asyncio.to_thread(gate.reached.wait, 20)
        ending = asyncio.create_task(shell.quiesce(3.0))
        await turns()
        assert not ending.done()
        clock.advance(3.0)
        await ending
        gate.opened.set()

    run(act, gate, clock=clock)
    assert "the journal does not answer" in caplog.text


def test_a_defect_of_the_machine_ends_the_master_with_a_clear_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def act(shell: Shell, idle: Idle) -> None:
        with patch.object(shell.machine.reports, "on_drain", side_effect=ZeroDivisionError("oops")):
            await shell.settle(DrainAsked("w1"))

    with pytest.raises(BaseExceptionGroup) as caught:
        run(act)
    assert isinstance(failure_of(caught.value), ZeroDivisionError)
    assert "a defect: DrainAsked could not be stepped, so this master ends" in caplog.text


def test_a_busy_master_leaves_a_snapshot_behind_and_an_idle_one_what_is_left() -> None:
    async def act(shell: Shell, idle: Idle) -> None:
        snapshots, live = shell._journal.snapshots, shell.machine.cluster
        for number in range(ENTRIES_MIN + 1):
            await shell.settle(submitted(f"job-{number}"))
        await shell._compactor.finish(20)
        first = snapshots.newest()
        assert first is not None
        assert len(first.durable.jobs) == first.number - 1 == ENTRIES_MIN + 1
        shell.compact()
        await shell._compactor.finish(20)
        assert snapshots.newest_number() == first.number, "next to nothing has come since"
        for number in range(ENTRIES_MIN // 2):
            await shell.settle(submitted(f"other-{number}"))
        assert snapshots.newest_number() == first.number
        for number in range(ENTRIES_MIN // 2):
            await shell.settle(submitted(f"another-{number}"))
            shell.compact()
        await shell._compactor.finish(20)
        second = snapshots.newest()
        assert second is not None
        assert second.number > first.number + ENTRIES_MIN - 2
        again = Machine(live.limits, Random(1))
        journal = Journal(shell._journal._storage, STATE, "r", SYSTEM)
        for read in journal.replay():
            journal.feed(read, again)
        assert again.cluster.durable == live.durable

    run(act)
