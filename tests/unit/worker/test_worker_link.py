"""Requests of a worker to a master that is not there, or that refuses them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pytest

from mrcore.errors import (
    ClusterUnreachableError,
    DefectError,
    MrcoreError,
    UnavailableError,
    UsageError,
)
from mrcore.model.attempts import Assignment
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.task import FailureKind, Split, TaskFailure, TaskWork
from mrcore.rpc.cluster import Credentials
from mrcore.worker.core.commands import Leave
from mrcore.worker.core.events import Answered, Ended
from mrcore.worker.shell.synchronizer import (
    EAGER_PAUSE_SECONDS,
    FIRST_SECONDS,
    LONGEST_PAUSE_SECONDS,
)
from tests.support.fake_clock import FakeClock
from tests.support.fake_worker import make_spec
from tests.support.idle_worker import idle_worker

HERE = Credentials(address="127.0.0.1:1", token="t")
GONE = ClusterUnreachableError("The master at 127.0.0.1:1 does not answer.")
REFUSED = DefectError("The master failed on this call (KeyError('x')): its log says where.")


class StopError(Exception):
    """Ends a conversation that would go on for ever."""


def pauses(folder: Path, errors: Sequence[MrcoreError], *, connected: bool = False) -> list[float]:
    """Let every conversation of a worker end with the next of `errors`; return how it waits."""
    clock = FakeClock()
    waited: list[float] = []
    left = list(errors)

    async def converse(*given: object) -> None:
        del given
        if not left:
            raise StopError
        raise left.pop(0)

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        clock.advance(seconds)

    async def main() -> None:
        link, _ = idle_worker(folder, clock)
        if connected:
            link.connected.set()
        with (
            patch.object(link, "_find", return_value=HERE),
            patch.object(link, "_synchronize_forever", converse),
            patch.object(asyncio, "sleep", sleep),
            pytest.raises(StopError),
        ):
            await link.run()

    asyncio.run(main())
    return waited


def test_a_master_that_refuses_is_asked_ever_less_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waited = pauses(tmp_path, [REFUSED] * 12)
    assert waited[0] > EAGER_PAUSE_SECONDS
    assert sum(waited) > 5 * LONGEST_PAUSE_SECONDS
    assert max(waited) <= LONGEST_PAUSE_SECONDS
    assert [record.getMessage() for record in caplog.records] == [
        f"the master at 127.0.0.1:1 refused a call, trying again: {REFUSED}"
    ]


def test_a_master_that_starts_just_now_is_asked_often_and_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert set(pauses(tmp_path, [GONE] * 50)) == {EAGER_PAUSE_SECONDS}
    assert not caplog.records


def test_a_master_that_stays_away_is_told_now_and_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waited = pauses(tmp_path, [GONE] * 500 + [UnavailableError("The store is away.")] * 100)
    told = [record.getMessage() for record in caplog.records]
    assert {line.partition(":")[0] for line in told} == {
        "no master at 127.0.0.1",
        "the master at 127.0.0.1",
    }
    assert 2 <= len(told) <= sum(waited) / 60 + 2


def test_a_token_that_is_not_taken_is_looked_at_again_before_the_worker_leaves(
    tmp_path: Path,
) -> None:
    wrong = UsageError("The master at 127.0.0.1:1 does not accept this token.")
    clock = FakeClock()
    tries: list[float] = []

    async def converse(*given: object) -> None:
        del given
        tries.append(clock.now)
        raise wrong

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    async def main() -> Leave:
        link, agent = idle_worker(tmp_path, clock)
        with (
            patch.object(link, "_find", return_value=HERE),
            patch.object(link, "_synchronize_forever", converse),
            patch.object(asyncio, "sleep", sleep),
        ):
            await link.run()
        assert agent.leaving is not None
        return agent.leaving

    assert asyncio.run(main()) == Leave(wrong.exit_code, str(wrong))
    assert FIRST_SECONDS < tries[-1] - tries[0] <= FIRST_SECONDS + LONGEST_PAUSE_SECONDS
    assert len(tries) > 10


def test_one_connection_that_broke_is_not_worth_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    pauses(tmp_path / "one", [GONE], connected=True)
    assert not caplog.records
    pauses(tmp_path / "two", [GONE, GONE], connected=True)
    assert len(caplog.records) == 1


def test_a_store_that_cannot_be_read_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 5:
            (tmp_path / "cluster.json").write_text('{"nonce": "n"}')

    async def main() -> None:
        (tmp_path / "scratch").mkdir()
        _, agent = idle_worker(tmp_path / "scratch", clock)
        with patch.object(asyncio, "sleep", sleep):
            await agent._read_nonce(f"file://{tmp_path}")
        assert agent.machine.state().store_nonce == "n"

    asyncio.run(main())
    assert len(caplog.records) == 1
    assert "no work before this worker can read" in caplog.text


def test_results_that_do_not_fit_go_with_the_next_request(tmp_path: Path) -> None:
    attempts = [AttemptId(TaskId("j", 0, n), AttemptNumber(1, n + 1)) for n in range(3)]
    spec = make_spec("mem://in", "mem://out", "0" * 64)

    def answered(sequence: int, wanted: Sequence[AttemptId]) -> Answered:
        work = TaskWork(Split(()), 1)
        given = tuple(Assignment(attempt, work=work) for attempt in wanted)
        return Answered(cluster_id="c", epoch=1, sequence=sequence, wanted=given, jobs={"j": spec})

    async def main() -> list[list[bool]]:
        link, agent = idle_worker(tmp_path, FakeClock())
        machine, told = agent.machine, []
        machine.state()
        machine.step(answered(1, attempts))
        for attempt in attempts:
            machine.step(Ended(attempt, TaskFailure(kind=FailureKind.USER, message="m" * 600)))
        left = list(attempts)
        with patch("mrcore.worker.shell.synchronizer.REQUEST_BYTES_MAX", 1000):
            while left:
                request = link._request()
                assert [one.attempt.index for one in request.held] == [a.task.index for a in left]
                told.append([one.HasField("failure") for one in request.held])
                left = [a for a, has in zip(left, told[-1], strict=True) if not has]
                machine.step(answered(request.sequence, left))
        assert machine.held() == 0
        return told

    assert asyncio.run(main()) == [[True, True, False], [True]]


def test_a_thread_that_cannot_be_started_is_no_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            raise StopError

    async def main() -> None:
        link, agent = idle_worker(tmp_path, FakeClock())
        link.connected.set()
        refused = RuntimeError("can't start new thread")
        with (
            patch("threading.Thread.start", side_effect=refused),
            patch.object(asyncio, "sleep", sleep),
            pytest.raises(StopError),
        ):
            await link.run()
        assert agent.leaving is None

    asyncio.run(main())
    assert "The credentials cannot be read: can't start new thread" in caplog.text
