"""How a worker goes on asking a master that is not there, or does not want what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pytest

from mrcore.config import Credentials
from mrcore.errors import ClusterUnreachableError, DefectError, MrcoreError, UnavailableError
from tests.unit.fake_clock import FakeClock
from tests.unit.idle_worker import idle_worker
from worker.link import EAGER_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS

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
            patch.object(link, "_converse", converse),
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
