"""Callbacks of futures: they may wait for other calls, raise, and are run in their order."""

from __future__ import annotations

import operator
import threading
from concurrent import futures
from typing import Any, NoReturn

from mrcore.cluster.callbacks import STUCK_SECONDS, Callbacks
from mrcore.cluster.futures import CallFuture
from tests.support.call_house import Desk
from tests.support.fake_clock import FakeClock
from tests.support.waiting import wait_until


def held(desk: Desk) -> CallFuture[int]:
    """Return a call that ends with `let_go`, so that its callbacks run where its end arrives."""
    desk.house.hold = True
    future = desk.call(operator.neg, 1)
    wait_until(lambda: desk.house.waiting)
    return future


def test_a_callback_may_wait_for_another_call_of_its_session(desk: Desk) -> None:
    found: futures.Future[tuple[int, list[int]]] = futures.Future()

    def waits(done: futures.Future[int]) -> None:
        desk.house.hold = False
        other = desk.call(operator.neg, done)
        found.set_result((other.result(20), list(desk.map(operator.neg, range(3)))))

    held(desk).add_done_callback(waits)
    desk.house.let_go()
    assert found.result(20) == (1, [0, -1, -2])


def test_a_callback_that_raises_ends_no_other(desk: Desk) -> None:
    ran: list[str] = []

    def leaves(_: object) -> NoReturn:
        raise SystemExit

    first = held(desk)
    first.add_done_callback(leaves)
    second = desk.call(operator.neg, 2)
    second.add_done_callback(lambda _: ran.append("second"))
    wait_until(lambda: len(desk.house.waiting) == 2)
    desk.house.let_go()
    assert (first.result(20), second.result(20)) == (-1, -2)
    wait_until(lambda: ran == ["second"])
    assert desk.call(operator.neg, 3).result(20) == -3


def test_a_callback_of_a_cancelled_call_runs_in_the_thread_that_cancels(desk: Desk) -> None:
    ran: list[threading.Thread] = []
    future = held(desk)
    future.add_done_callback(lambda _: ran.append(threading.current_thread()))
    assert future.cancel()
    assert ran == [threading.current_thread()]


def test_callbacks_run_one_after_another_in_their_order() -> None:
    callbacks, ran = Callbacks(), list[int]()
    gate, last = threading.Event(), threading.Event()
    active: list[int] = []

    def run(number: int) -> None:
        active.append(number)
        assert active == [number]
        ran.append(number)
        active.clear()
        if number == 99:
            last.set()

    callbacks.run(lambda: None)
    for number in range(100):
        callbacks.run(lambda number=number: run(number))  # type: ignore[misc]
    assert last.wait(20)
    assert ran == list(range(100))
    # One that waits holds up none of those behind it.
    last.clear()
    callbacks.run(lambda: gate.wait(20) and None)
    callbacks.run(lambda: gate.wait(20) and None)
    callbacks.run(last.set)
    assert last.wait(20)
    gate.set()


def test_an_executor_and_a_loop_see_the_end_of_a_call_whose_callback_waits(desk: Desk) -> None:
    gate = threading.Event()
    future: CallFuture[Any] = held(desk)
    future.add_done_callback(lambda _: gate.wait(20))
    desk.house.let_go()
    assert futures.wait([future], 20).done == {future}
    assert list(desk.map(operator.neg, range(3))) == [0, -1, -2]
    gate.set()


def test_one_that_has_waited_and_ends_lets_none_overtake_the_one_that_runs() -> None:
    clock, ran = FakeClock(), list[str]()
    callbacks = Callbacks(clock)
    first, second = threading.Event(), threading.Event()

    def waits(name: str, gate: threading.Event) -> None:
        ran.append(name)
        assert gate.wait(20)
        ran.append(f"{name} ended")

    callbacks.run(lambda: waits("first", first))
    wait_until(lambda: ran == ["first"])
    callbacks.run(lambda: waits("second", second))
    clock.advance(STUCK_SECONDS)
    wait_until(lambda: ran == ["first", "second"])
    callbacks.run(lambda: ran.append("third"))
    wait_until(lambda: callbacks._spare == 1)
    first.set()
    wait_until(lambda: "first ended" in ran and callbacks._spare == 2)
    second.set()
    wait_until(lambda: "third" in ran)
    assert ran == ["first", "second", "first ended", "second ended", "third"]
