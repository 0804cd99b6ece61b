"""A cluster as an executor: `map` with its limits, and a client that was closed."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from mrcore.cluster.executor import ClusterExecutor
from mrcore.cluster.monitor import Monitor
from mrcore.errors import UsageError
from tests.support.call_house import Desk
from tests.support.waiting import wait_until


@pytest.fixture
def executor(desk: Desk) -> ClusterExecutor:
    client: Any = SimpleNamespace(caller=desk.caller, check_open=desk.calls.board.check_open)
    return ClusterExecutor(client)


def test_the_time_limit_of_a_map_is_named_as_it_was_given(
    desk: Desk, executor: ClusterExecutor
) -> None:
    desk.house.hold = True
    found = executor.map(operator.neg, [1, 2], timeout=0.125)
    wait_until(lambda: len(desk.house.waiting) == 2)
    with pytest.raises(TimeoutError, match=r"^call-00000 of \S+ has not ended within 0\.12 s: "):
        next(found)
    wait_until(lambda: not desk.house.waiting)  # what nobody can draw is cancelled
    desk.house.let_go()

    def late(_: int) -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match=r"^its own$"):
        next(executor.map(late, [1], timeout=60))


def test_a_map_with_a_buffer_takes_items_as_results_are_drawn(executor: ClusterExecutor) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield number

    found = executor.map(operator.neg, items(), buffersize=3)
    assert taken == [0, 1, 2]
    assert next(found) == 0
    assert taken == [0, 1, 2, 3]
    assert list(found) == [-n for n in range(1, 10)]
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="buffersize"):
            executor.map(operator.neg, [1], buffersize=wrong)
    assert list(executor.map(operator.add, [1, 2], [3])) == [4]


def test_after_the_client_was_closed_all_of_it_says_so(
    desk: Desk, executor: ClusterExecutor
) -> None:
    monitor = Monitor(desk.house.client(), desk.calls.board.check_open)  # type: ignore[arg-type]
    desk.calls.close()
    for ask in (
        monitor.masters,
        monitor.workers,
        lambda: monitor.tasks("a-job"),
        lambda: monitor.files("a-job"),
    ):
        with pytest.raises(UsageError, match=r"was shut down, or its client closed\. Connect"):
            ask()
    with pytest.raises(RuntimeError, match="cannot schedule new futures: This cluster was shut"):
        executor.submit(operator.neg, 1)
