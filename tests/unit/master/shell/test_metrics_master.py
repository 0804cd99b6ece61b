"""A master's metrics, scraped over HTTP as Prometheus does, and its status for systemd."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mrcore.daemon import metrics
from mrcore.master.core.commands import Reply
from mrcore.master.core.events import CallsSent, CallsUnwanted, CloseAsked, Submitted, Synced
from mrcore.master.core.facts import JobEnded
from mrcore.master.shell.health import WELL_SECONDS, Health
from mrcore.master.shell.loop import Shell
from mrcore.master.shell.metrics import Totals, measured
from mrcore.model.attempts import AttemptState, HeldAttempt
from mrcore.model.calls import CallPlan
from mrcore.model.ids import TaskId
from mrcore.model.job import JobState, Session
from mrcore.model.stages import Calls, Result, StagePlan
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput
from mrcore.util.clock import SYSTEM
from tests.support.fake_clock import FakeClock
from tests.support.master_shell import Gate, Idle, run, submitted, synced
from tests.support.scrape import Samples, check_names, documented, families, scrape, vitals
from tests.support.specs import NO_VERSIONS, call_spec


async def win_the_map(shell: Shell) -> None:
    """Have one worker take the only map of the job, and finish it in 7 seconds."""
    reply = await shell.synchronize(synced(1))
    assert isinstance(reply, Reply)
    (wanted,) = reply.wanted
    done = HeldAttempt(
        wanted.attempt,
        AttemptState.FINISHED,
        result=TaskOutput(section_bytes=(0,), elapsed_seconds=7.0),
    )
    await shell.synchronize(Synced("w1", 1, 2, shell.machine.cluster.epoch, 1, (done,), park=False))


def test_jobs_tasks_and_workers_are_counted() -> None:
    found: Samples = {}
    seen: list[tuple[int, dict[str, Any]]] = []

    async def act(shell: Shell, idle: Idle) -> None:
        clock = FakeClock(SYSTEM.monotonic())
        health = Health(shell, clock)
        with measured("127.0.0.1:0", health) as port:
            await shell.settle(submitted())
            await win_the_map(shell)
            found.update(await asyncio.to_thread(scrape, port))
            seen.append(await asyncio.to_thread(vitals, port))
            clock.advance(3_600 + WELL_SECONDS)  # without a turn of the loop
            seen.append(await asyncio.to_thread(vitals, port))

    run(act)
    (status, answer), (late, _) = seen
    assert (status, late) == (200, 503)
    place = {"role": "leader", "epoch": 1, "behind_entries": 0, "behind_seconds": 0.0}
    assert {**answer, "entry": 0} == {**place, "healthy": True, "entry": 0}
    assert answer["entry"] == found["mrcore_master_journal_entry", ()] > 1
    assert found["mrcore_master_role", ("leader",)] == 1
    assert found["mrcore_master_role", ("standby",)] == 0
    check_names(found, "mrcore_master_")
    assert documented("mrcore_master_") == families(found, "mrcore_master_")
    assert found["mrcore_master_responsive", ()] == 1
    assert found["mrcore_master_jobs", ("running",)] == 1
    assert found["mrcore_master_jobs", ("failed",)] == 0
    assert found["mrcore_master_tasks", ("map", "completed")] == 1
    assert found["mrcore_master_tasks", ("reduce", "in_progress")] == 1
    assert found["mrcore_master_tasks", ("reduce", "idle")] == 0
    assert found["mrcore_master_workers", ("active",)] == 1
    assert found["mrcore_master_slots", ()] == 1
    assert found["mrcore_master_attempts_total", ("started",)] == 2
    assert found["mrcore_master_attempts_total", ("won",)] == 1
    assert found["mrcore_master_task_seconds_sum", ("map",)] == 7.0
    assert found["mrcore_master_journal_append_seconds_count", ()] >= 2


def test_calls_and_sessions_are_counted() -> None:
    found: Samples = {}
    clock = FakeClock()

    async def act(shell: Shell, idle: Idle) -> None:
        with measured("127.0.0.1:0", Health(shell, clock)) as port:
            spec = call_spec("s", Session(retries=0), versions=NO_VERSIONS)
            stages = (StagePlan(0, Calls(), Result()),)
            await shell.settle(
                Submitted(job_id="s", request_id="r", spec=spec, stages=stages, claim_generation="")
            )
            plain = CallPlan("0" * 64, b"x" * 9)
            taker = CallPlan("0" * 64, needs=(TaskId("s", 0, 1),))
            await shell.settle(CallsSent("s", 0, (plain, plain, plain, plain, taker)))
            clock.advance(3.0)
            await shell.settle(CallsUnwanted("s", (3,)))
            reply = await shell.synchronize(Synced("w1", 1, 1, 0, slots=2, park=False))
            assert isinstance(reply, Reply)
            first, second = [wanted.attempt for wanted in reply.wanted]
            value = TaskOutput(result=b"v", elapsed_seconds=2.5)
            wrong = TaskFailure(kind=FailureKind.USER, message="no")
            held = (
                HeldAttempt(first, AttemptState.FINISHED, result=value),
                HeldAttempt(second, AttemptState.FINISHED, result=wrong),
            )
            epoch = shell.machine.cluster.epoch
            await shell.synchronize(Synced("w1", 1, 2, epoch, 2, held, park=False))
            found.update(await asyncio.to_thread(scrape, port))
            await shell.settle(CloseAsked("s", "its client has closed it"))
            found_last.update(await asyncio.to_thread(scrape, port))

    found_last: Samples = {}
    run(act)
    states = {state: found["mrcore_master_calls", (state,)] for state in ("waiting", "ended")}
    assert states == {"waiting": 0, "ended": 4}, "the taker fails with the call that it takes from"
    active = [found["mrcore_master_calls", (state,)] for state in ("queued", "running")]
    assert sum(active) == 1
    assert found["mrcore_master_sessions", ()] == 1
    assert found["mrcore_master_call_bytes", ()] > 5_000
    assert found["mrcore_master_calls_added_total", ()] == 5
    ended = "mrcore_master_calls_ended_total"
    outcomes = ("succeeded", "failed", "cancelled")
    assert [found[ended, (outcome,)] for outcome in outcomes] == [1, 2, 1]
    assert found["mrcore_master_call_seconds_sum", ("succeeded",)] == 3.0
    assert found["mrcore_master_call_start_seconds_sum", ()] == 0.5
    assert found_last["mrcore_master_sessions", ()] == 0
    assert found_last["mrcore_master_call_bytes", ()] == 0
    assert found_last[ended, ("cancelled",)] == 2


def test_the_time_of_a_job_is_told_at_its_end() -> None:
    found: Samples = {}

    async def act(shell: Shell, idle: Idle) -> None:
        with measured("127.0.0.1:0", Health(shell, SYSTEM)) as port:
            await shell.settle(submitted())
            job = shell.machine.cluster.job("job-a")
            assert job is not None
            end = JobEnded(
                job_id="job-a",
                state=JobState.CANCELLED,
                wall_seconds=job.submitted_seconds + 90.0,
            )
            (observer,) = shell._observers
            observer([end], 0.02)
            found.update(await asyncio.to_thread(scrape, port))

    run(act)
    assert found["mrcore_master_job_seconds_sum", ("cancelled",)] == pytest.approx(90.0)
    assert found["mrcore_master_job_seconds_bucket", ("60.0", "cancelled")] == 0
    assert found["mrcore_master_job_seconds_bucket", ("300.0", "cancelled")] == 1


def test_what_is_not_durable_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    monkeypatch.setattr(metrics, "LOOK_SECONDS", 0.2)

    async def act(shell: Shell, idle: Idle) -> None:
        with measured("127.0.0.1:0", Health(shell, SYSTEM)) as port:
            await shell.send(submitted())
            await asyncio.to_thread(gate.reached.wait)
            blocked = await asyncio.to_thread(scrape, port)
            gate.opened.set()
            await shell.flushed()
            freed = await asyncio.to_thread(scrape, port)
        assert blocked["mrcore_master_responsive", ()] == 0
        assert ("mrcore_master_jobs", ("running",)) not in blocked
        assert freed["mrcore_master_jobs", ("running",)] == 1

    run(act, hook=gate)


def test_totals_never_fall() -> None:
    totals = Totals()
    assert totals.add({"a": {"won": 2}, "b": {"won": 1}}) == {"won": 3}
    assert totals.add({"b": {"won": 4}}) == {"won": 6}, "a is forgotten, not undone"
    assert totals.add({"b": {"won": 3}, "c": {"failed": 1}}) == {"won": 6, "failed": 1}


def test_a_loop_that_does_not_turn_is_no_good_health() -> None:
    clock = FakeClock()

    async def act(shell: Shell, idle: Idle) -> None:
        health = Health(shell, clock)
        shell.turned_at = clock.now
        clock.advance(WELL_SECONDS)
        assert not health.healthy()

    run(act)

    async def act_again(shell: Shell, idle: Idle) -> None:
        health = Health(shell, SYSTEM)
        shell.turned_at = 0.0
        await shell.settle(submitted())
        assert health.healthy(), "stepping is what counts"
        assert health.status() == "jobs: 1, tasks left: 2, workers: 0, slots: 0"

    run(act_again)
