"""Children of a worker: their number, their lifetime, and the order of their work."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import subprocess
from pathlib import Path

import pytest

from mrcore.model.task import TaskOutput
from mrcore.tasks.child.environment import MARK
from mrcore.util.proc import children
from mrcore.worker.core.limits import Limits
from mrcore.worker.shell.orphans import Orphans, adopt_orphans
from mrcore.worker.shell.scratch import Folders
from mrcore.worker.shell.starts import Starts
from tests.support.fake_clock import FakeClock
from tests.support.supervised_worker import SupervisedWorker, alive, in_house
from tests.support.worker_children import release, waiting

pytestmark = pytest.mark.timeout(60)

MAP = "def map(key, value):\n    yield value, 1\n"


@in_house()
async def test_a_child_that_kept_much_memory_is_replaced(house: SupervisedWorker) -> None:
    house.job(
        """
        import os
        kept = []
        def map(key, value):
            print(os.getpid())
            kept.append(bytearray(b"x") * (int(value) << 20))
            return []
        """,
        memory_bytes=300 << 20,
    )
    pids = []
    for megabytes in (1, 1, 200, 1):
        attempt = house.give(f"{megabytes}\n")
        assert isinstance(await house.result(attempt), TaskOutput)
        pids.append(house.log(attempt))
    assert pids[0] == pids[1] == pids[2] != pids[3]


@in_house()
async def test_recalled_orders_keep_their_order(house: SupervisedWorker) -> None:
    waiting(house)
    first = house.give("wait\n")
    others = [house.give(f"{n}\n") for n in range(5)]
    await house.until(lambda: bool(list(house.supervisor.running())))
    assert house.supervisor.withdraw(others.pop(2))
    house.supervisor.dispatch()
    release(house)
    for attempt in others:
        await house.result(attempt)
    assert list(house.results) == [first, *others]


@in_house()
async def test_orders_behind_a_death_keep_their_order(house: SupervisedWorker) -> None:
    house.job("""
        import os
        def map(key, value):
            if value == "die":
                os._exit(3)
            return []
    """)
    first = house.give("die\n")
    others = [house.give(f"{n}\n") for n in range(5)]
    for attempt in (first, *others):
        await house.result(attempt)
    assert [attempt for attempt in house.results if attempt != first] == others


@in_house()
async def test_the_report_of_a_killed_attempt_is_not_told(house: SupervisedWorker) -> None:
    house.job(MAP)
    attempt = house.give()
    (child,) = house.supervisor._children
    # The loop stands still meanwhile, and has not heard the report when the attempt is killed.
    assert select.select([child.report_descriptor], [], [], 30.0)[0]
    house.supervisor.kill(attempt)
    await house.until(lambda: not house.supervisor._unwanted)
    assert house.results == {}
    assert isinstance(await house.result(house.give()), TaskOutput)


@in_house()
async def test_a_log_beyond_its_limit_is_emptied_while_the_attempt_runs(
    house: SupervisedWorker,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mrcore.worker.shell.excess.MAX_LOG_BYTES", 1000)
        waiting(house)
        house.give("wait\n")
        (child,) = house.supervisor._children
        await house.until(lambda: bool(list(house.supervisor.running())))
        child.log_path.write_text("x" * 1001)
        await house.until(lambda: child.log_path.stat().st_size < 1000)
        assert child.log_path.read_text().startswith("[mrcore dropped earlier output")
        release(house)


@in_house(limits=Limits(idle_seconds=0.05))
async def test_an_idle_child_of_a_job_is_replaced_after_a_while(house: SupervisedWorker) -> None:
    house.job(MAP)
    await house.result(house.give())
    (child,) = house.supervisor._children
    await house.until(lambda: child not in house.supervisor._children)
    await house.until(lambda: [each.group for each in house.supervisor._children] == [None])


@in_house(limits=Limits(idle_seconds=3600.0))
async def test_idle_children_of_many_jobs_are_bounded(house: SupervisedWorker) -> None:
    for name in "abcde":
        house.job(MAP, name)
        assert isinstance(await house.result(house.give(job_id=name)), TaskOutput)
    await house.until(lambda: all(not child.doomed for child in house.supervisor._children))
    assert [child.group for child in house.supervisor._children] == ["d", "e"]


@in_house()
async def test_no_more_children_are_started_while_killed_ones_do_not_die(
    house: SupervisedWorker,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mrcore.worker.shell.child_process.end_processes", lambda process_ids: None)
        patch.setattr("os.killpg", lambda group, number: None)  # as where the system holds them
        for name in "ab":
            house.job(MAP, name)
            assert isinstance(await house.result(house.give(job_id=name)), TaskOutput)
        for name in "cd":
            house.job(MAP, name)
        attempts = [house.give(job_id=name) for name in "cd"]
        assert isinstance(await house.result(attempts[0]), TaskOutput)
        for _ in range(5):
            house.supervisor._tick()
        held = [child for child in house.supervisor._children if child.doomed]
        assert (len(held), len(house.supervisor._children)) == (1, 3)
        assert attempts[1] not in house.results
    held[0].kill()
    assert isinstance(await house.result(attempts[1]), TaskOutput)


@in_house(limits=Limits(ahead_max=2))
async def test_orders_beyond_those_that_a_child_may_have_wait_for_their_turn(
    house: SupervisedWorker,
) -> None:
    waiting(house)
    attempts = [house.give("wait\n"), *(house.give(f"{n}\n") for n in range(9))]
    (child,) = house.supervisor._children
    assert (len(child.sent), len(house.supervisor._queue)) == (3, 7)
    release(house)
    for attempt in attempts:
        assert isinstance(await house.result(attempt), TaskOutput)
    assert list(house.results) == attempts


@in_house(limits=Limits(much_ahead=2, reports_seconds=3600.0))
async def test_reports_of_a_child_with_much_to_do_are_read_together(
    house: SupervisedWorker,
) -> None:
    waiting(house)
    attempts = [house.give(text) for text in ("first\n", "wait\n", *"abcd")]
    assert isinstance(await house.result(attempts[0]), TaskOutput)
    (child,) = house.supervisor._children
    release(house)
    await house.until(lambda: child.view().begun == len(attempts))
    assert list(house.results) == attempts[:1]
    house.supervisor._listen_again(child)
    for attempt in attempts:
        assert isinstance(await house.result(attempt), TaskOutput)
    assert list(house.results) == attempts
    assert isinstance(await house.result(house.give()), TaskOutput)


@in_house(limits=Limits(much_ahead=2, reports_seconds=3600.0, reports_bytes_max=1))
async def test_long_reports_are_read_at_once(house: SupervisedWorker) -> None:
    house.job(MAP)
    attempts = [house.give() for _ in range(9)]
    for attempt in attempts:
        assert isinstance(await house.result(attempt), TaskOutput)


@in_house(limits=Limits(much_ahead=2, reports_seconds=3600.0))
async def test_a_child_that_dies_with_unread_reports_has_done_what_they_say(
    house: SupervisedWorker,
) -> None:
    waiting(house)
    attempts = [house.give(text) for text in ("first\n", "wait\n", *"abcd")]
    assert isinstance(await house.result(attempts[0]), TaskOutput)
    (child,) = house.supervisor._children
    release(house)
    await house.until(lambda: len(child.begun()) == 5)
    child.kill()
    for attempt in attempts[1:-1]:
        assert isinstance(await house.result(attempt), TaskOutput)


@in_house(limits=Limits(much_ahead=2, reports_seconds=3600.0))
async def test_to_stop_an_attempt_that_has_ended_unread_harms_no_other(
    house: SupervisedWorker,
) -> None:
    waiting(house)
    attempts = [house.give(text) for text in ("first\n", "wait\n", *"abcd")]
    assert isinstance(await house.result(attempts[0]), TaskOutput)
    (child,) = house.supervisor._children
    release(house)
    await house.until(lambda: child.view().begun == len(attempts))
    house.supervisor.kill(attempts[1])
    house.supervisor._listen_again(child)
    for attempt in attempts[2:]:
        assert isinstance(await house.result(attempt), TaskOutput)
    assert attempts[1] not in house.results
    assert house.supervisor._children == [child]
    assert not child.doomed


def test_there_is_a_pause_after_a_bad_start(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    starts = Starts(Limits(restart_seconds=2.0, bad_starts_max=2), clock)
    assert starts.may_start()
    starts.failed("no")
    assert not starts.may_start()
    assert not starts.hopeless()
    clock.advance(2.0)
    assert starts.may_start()
    with caplog.at_level(logging.ERROR):
        caplog.clear()
        starts.failed("no")
        assert caplog.messages == [], "the same again"
        starts.failed("never")
    assert caplog.messages == ["a child could not be started: never"]
    assert starts.hopeless()
    starts.worked()
    assert not starts.hopeless()


@in_house(limits=Limits(restart_seconds=3600.0))
async def test_children_that_cannot_start_are_not_started_again_at_once(
    house: SupervisedWorker,
) -> None:
    site = house.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import os; os._exit(7)\n")
    house.supervisor.close()
    house.supervisor._starter._server._environment["PYTHONPATH"] = str(site)
    house.job(MAP)
    attempt = house.give()
    await house.until(lambda: not house.supervisor._starts.may_start())
    assert house.supervisor._children == []
    spawned = house.supervisor._starter._server.process_id
    for _ in range(5):
        house.supervisor._tick()
    assert house.supervisor._starter._server.process_id == spawned
    house.supervisor.kill(attempt)


@in_house()
async def test_what_is_in_the_group_of_a_crashed_child_ends_with_it(
    house: SupervisedWorker,
) -> None:
    house.job("""
        import os, signal
        def map(key, value):
            if not (fork := os.fork()):
                signal.pause()
            with open(value, "w") as flag:
                flag.write(str(fork))
            os.kill(os.getpid(), signal.SIGSEGV)
    """)
    flag = house.folder / "flag"
    assert "segmentation fault" in (await house.failure(house.give(f"{flag}\n"))).message
    await house.until(lambda: not alive(int(flag.read_text())))


def test_orphans_beyond_the_limit_are_looked_at_later() -> None:
    orphans = Orphans(Limits(orphans_max=1))
    before = set(children(os.getpid()))
    adopt_orphans()
    try:
        subprocess.run(
            ["sh", "-c", "setsid sleep 600 & setsid sleep 600 &"],
            env={**os.environ, MARK: "gone"},
            check=True,
        )
        left = set(children(os.getpid())) - before
        assert len(left) == 2
        for process_id in left:  # what they are started by has set their group by then
            while os.getpgid(process_id) == os.getpgrp():
                os.sched_yield()
        while set(children(os.getpid())) - before:
            orphans.look(before)
            assert len(orphans._marks) <= 1
            orphans.end_others(())
    finally:
        adopt_orphans(False)


def test_folders_that_go_too_slowly_are_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders = Folders(tmp_path, lambda: None, sweeps_max=1)
    for process_id in (1, 2):
        folders.of_child(process_id).mkdir()

    async def sweep_both() -> None:
        await asyncio.gather(folders.sweep(1), folders.sweep(2))

    asyncio.run(sweep_both())
    assert [path.name for path in tmp_path.iterdir()] == ["child-2"]
    assert "is removed too slowly: more is left there" in caplog.text
    assert folders.sweeps == 0
