"""Futures in odd moments: in a fork, at the end of a wait, and in a finalizer."""

from __future__ import annotations

import operator
import os
import sys
import threading
from concurrent import futures

import pytest

from mrcore.cluster import backends
from mrcore.cluster.futures import ClusterFuture, LiveFutures
from mrcore.errors import RemoteError, UsageError
from tests.support.call_house import Desk
from tests.support.waiting import wait_until


def test_a_fork_of_the_program_is_refused_and_does_not_wait(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = desk.call(operator.neg, 1)
    assert ended.result(10) == -1
    desk.house.hold = True
    waits = desk.call(operator.neg, 2)
    with monkeypatch.context() as fork:
        fork.setattr(os, "getpid", lambda: 1)
        assert ended.result() == -1
        for ask in (
            waits.result,
            waits.exception,
            lambda: desk.call(operator.neg, 3),
            lambda: list(desk.map(operator.neg, [3])),
        ):
            with pytest.raises(UsageError, match="this one is a fork of it"):
                ask()
    desk.house.let_go()
    assert waits.result(10) == -2


@pytest.mark.parametrize("name", ["result", "exception"])
def test_what_ends_in_the_moment_of_a_time_limit_counts(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    future: ClusterFuture[int] = ClusterFuture()
    wait = getattr(futures.Future, name)

    def ends_late(self: ClusterFuture[int], timeout: float | None) -> object:
        if not self.done():
            self.end(3)
            raise TimeoutError
        return wait(self, timeout)

    monkeypatch.setattr(futures.Future, name, ends_late)
    assert getattr(future, name)(1) == (3 if name == "result" else None)


def test_a_finalizer_may_end_futures_and_clients_while_their_locks_are_held() -> None:
    live, future = LiveFutures(), ClusterFuture[int]()
    live.add(future)

    def collect() -> None:
        with live._lock, backends._lock:
            future.cancel()
            backends.closed(None)  # type: ignore[arg-type]

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert live.now() == []


def test_a_call_that_waits_for_a_master_that_is_gone_says_so(desk: Desk) -> None:
    desk.house.hold = True
    call = desk.call(operator.neg, 1)
    wait_until(lambda: desk.house.waiting)
    desk.house.stop()
    wait_until(lambda: "does not answer" in call.note)
    with pytest.raises(TimeoutError, match=r"waiting for the master, which does not answer\.$"):
        call.result(0)


class Ending:
    """A value that ends the program that loads it."""

    def __init__(self, length: int) -> None:
        self.data = b"x" * length

    def __reduce__(self) -> tuple[object, ...]:
        return sys.exit, (self.data,)


@pytest.mark.parametrize("length", [1, 100_000])
def test_a_value_that_ends_the_program_when_it_is_loaded_is_an_error(
    desk: Desk, length: int
) -> None:
    call = desk.call(Ending, length)
    with pytest.raises(RemoteError, match=r"^The value of call-00000 cannot be loaded here"):
        call.result(10)
    assert desk.call(operator.neg, 1).result(10) == -1
