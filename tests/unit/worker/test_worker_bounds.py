"""Bytes that a worker holds: results that its master has yet to take, and ends of logs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from unittest.mock import patch

import pytest

from mrcore.model.ids import AttemptId
from mrcore.model.task import TaskOutput
from mrcore.tasks.child.protocol import JobFile
from mrcore.worker.core.events import Ended
from mrcore.worker.core.limits import Limits
from tests.support.fake_clock import FakeClock
from tests.support.idle_worker import idle_worker
from tests.support.supervised_worker import SupervisedWorker, in_house
from tests.support.worker_children import release, waiting
from tests.support.worker_driver import Driver, assignment, attempt

pytestmark = pytest.mark.timeout(60)


def test_results_count_by_their_bytes_until_the_master_has_taken_them() -> None:
    driver = Driver(Limits(held_bytes_max=1_000))
    driver.answer(assignment(1), assignment(2), assignment(3))
    large = TaskOutput(counters={f"counter {n}": n for n in range(48)})
    driver.step(Ended(attempt(1), large))
    assert driver.machine.has_room_for_results()
    driver.step(Ended(attempt(2), large))
    assert not driver.machine.has_room_for_results()
    driver.told()
    driver.answer(assignment(2), assignment(3))
    assert driver.machine.has_room_for_results()
    driver.step(Ended(attempt(3), large))
    assert not driver.machine.has_room_for_results()
    driver.told()
    driver.answer(cluster_id="another")
    assert driver.machine.has_room_for_results()


def test_nothing_begins_while_the_results_fill_the_worker(tmp_path: Path) -> None:
    async def main() -> None:
        _, agent = idle_worker(tmp_path, FakeClock())
        assert agent.may_begin()
        with patch.object(agent.machine, "_limits", Limits(held_bytes_max=0)):
            assert not agent.may_begin()

    asyncio.run(main())


@in_house()
async def test_nothing_begins_while_there_is_no_room_for_results(house: SupervisedWorker) -> None:
    waiting(house)
    first = house.give("wait\n")
    await house.until(lambda: bool(list(house.supervisor.running())))
    others = [house.give(f"{n}\n") for n in range(5)]
    house.has_room = False
    house.supervisor.dispatch()
    release(house)
    assert isinstance(await house.result(first), TaskOutput)
    assert house.supervisor.unfinished() == len(others)
    assert not any(child.sent for child in house.supervisor._children)
    house.has_room = True
    for other in others:
        assert isinstance(await house.result(other), TaskOutput)
    assert list(house.results) == [first, *others]


@in_house(slots=2, limits=Limits(log_tails_bytes_max=10, log_tail_bytes_min=3))
async def test_last_words_are_cut_while_others_are_being_stored(house: SupervisedWorker) -> None:
    house.job("""
        import os
        def map(key, value):
            os.write(1, b"0123456789abc")
            os._exit(3)
    """)
    os.mkfifo(house.folder / "slow")
    words = house.supervisor._log_tails
    store = words._store_log

    def slowly(job: JobFile, attempt: AttemptId, text: bytes) -> None:
        (house.folder / "slow").read_text()
        store(job, attempt, text)

    words._store_log = slowly
    first = house.give()
    await house.until(lambda: words.held_bytes == 10)
    words._store_log = store
    second = house.give()
    await house.failure(second)
    assert house.log(second) == "abc"
    (house.folder / "slow").write_text("")
    await house.failure(first)
    assert house.log(first) == "3456789abc"
    assert words.held_bytes == 0
