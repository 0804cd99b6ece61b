"""The client's side of calls: order, batches, releases, failures and a master that goes away."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import hashlib
import operator
import threading
import tracemalloc
from collections.abc import Callable
from concurrent import futures
from typing import Any, NoReturn

import pytest

from mrcore.calls import payload
from mrcore.calls.exceptions import RemoteTraceback
from mrcore.cluster import calls as calls_module
from mrcore.cluster import sender as sender_module
from mrcore.cluster.futures import CallFuture
from mrcore.errors import (
    DefectError,
    LimitError,
    MrcoreError,
    PicklingError,
    RemoteError,
    UsageError,
)
from tests.support.call_house import OPTIONS, Desk
from tests.support.waiting import wait_until


def sha256_of(function: Callable[..., Any]) -> str:
    return hashlib.sha256(payload.dump_function(function)).hexdigest()


def test_a_call_and_what_it_raises(desk: Desk) -> None:
    assert desk.call(divmod, 7, 2).result(10) == (3, 1)
    failed = desk.call(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        failed.result(10)
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert repr(failed).endswith(": failed>")


def test_values_in_reports_are_released_at_once(desk: Desk) -> None:
    made = [desk.call(operator.neg, n) for n in range(100)]
    assert [one.result(10) for one in made] == [-n for n in range(100)]
    wait_until(lambda: desk.house.live() == 0)
    assert desk.house.requests["add"] < 100
    assert desk.house.requests["put"] == 1


def test_long_values_stay_until_their_futures_go(desk: Desk) -> None:
    one, two, three = (desk.call(bytes, 100_000) for _ in range(3))
    futures.wait([one, two, three])
    assert desk.house.requests["read"] == 0
    assert len(one.result()) == 100_000
    assert desk.house.live() == 3
    one.close()
    with pytest.raises(UsageError, match="was freed"):
        one.result()
    with pytest.raises(UsageError, match=r"^The value of call-00000 was freed\. Call the function"):
        desk.call(len, one)
    del two
    gc.collect()
    wait_until(lambda: desk.house.live() == 1)
    assert desk.call(len, three).result(10) == 100_000
    del three
    gc.collect()
    wait_until(lambda: desk.house.live() == 0)


def test_values_of_kept_calls_stay_without_their_futures(desk: Desk) -> None:
    keep = dataclasses.replace(OPTIONS, keep=True)

    def call(function: Any, *arguments: Any) -> CallFuture[Any]:
        return desk.caller.call(function, arguments, {}, keep)

    desk.house.hold = True
    short = call(operator.neg, 1)
    assert short.job_id  # it is there when `call` returns
    desk.house.let_go()
    long = call(bytes, 100_000)
    assert short.result(10) == -1
    assert len(long.result(10)) == 100_000
    del long
    gc.collect()
    # Others attach to them.
    desk.call(operator.neg, 2).result(10)
    wait_until(lambda: desk.house.requests["release"] == 1)
    assert desk.house.live() == 2
    short.close()
    wait_until(lambda: desk.house.live() == 1)


def test_futures_are_arguments(desk: Desk) -> None:
    desk.house.hold = True
    first = desk.call(operator.add, 1, 2)
    second = desk.call(lambda found, *, more: found["x"] + more, {"x": first}, more=first)
    wait_until(lambda: len(desk.house.waiting) == 2)
    desk.house.let_go()
    assert second.result(10) == 6
    # The value is here by now, and goes along.
    assert desk.call(operator.mul, first, second).result(10) == 18
    failed = desk.call(operator.truediv, first, 0)
    with pytest.raises(ZeroDivisionError):
        failed.result(10)
    with pytest.raises(ZeroDivisionError):
        desk.call(operator.neg, failed).result(10)


def test_futures_of_another_cluster_travel_as_values_that_are_here(desk: Desk) -> None:
    other = Desk()
    try:
        short, long = other.call(operator.neg, 1), other.call(bytes, 100_000)
        assert short.result(10) == -1
        assert desk.call(operator.neg, short).result(10) == 1
        futures.wait([long], 10)
        with pytest.raises(UsageError, match=r"^A future of another cluster cannot be an argument"):
            desk.call(len, long)
        with pytest.raises(UsageError, match=r"^A future of another cluster cannot be an argument"):
            list(desk.map(len, [long]))
    finally:
        other.calls.close()
        other.house.stop()


def test_the_call_of_a_value_is_not_released_before_its_taker_was_sent(desk: Desk) -> None:
    for _ in range(50):
        first = desk.call(operator.neg, 1)
        assert desk.call(operator.neg, first).result(10) == 1


def test_scattered_values(desk: Desk) -> None:
    from mrcore.calls import payload
    from mrcore.cluster.scattered import Scattered

    data = payload.dump_value(list(range(1000)))
    sha256 = desk.calls.store_now(data)
    shared: Scattered[Any] = Scattered(
        sha256, len(data), lambda name: payload.load_value(desk.calls.read_object(name))
    )
    assert desk.call(sum, shared).result(10) == 499_500
    assert len(shared.result()) == 1000
    with pytest.raises(PicklingError):
        desk.call(lambda: shared)


def test_a_call_is_cancelled(desk: Desk) -> None:
    desk.house.hold = True
    call = desk.call(operator.neg, 1)
    ended: list[Any] = []
    call.add_done_callback(ended.append)
    wait_until(lambda: desk.house.waiting)
    assert call.cancel()
    assert call.cancel()
    assert call.cancelled()
    assert ended == [call]
    with pytest.raises(futures.CancelledError):
        call.result()
    wait_until(lambda: desk.house.requests["cancel"] >= 1)
    with pytest.raises(RemoteError, match="was cancelled"):
        desk.call(operator.neg, call).result(10)
    other = desk.call(operator.neg, 2)
    wait_until(lambda: len(desk.house.waiting) == 1)
    with desk.calls.board.changed:  # so that its end has not come yet
        assert other.cancel()
        assert desk.call(operator.neg, other).done(), "it is not sent, only to fail there"


def test_a_wait_that_takes_too_long_says_for_what(desk: Desk) -> None:
    desk.house.hold = True
    call = desk.call(operator.neg, 1)
    wait_until(lambda: desk.house.waiting)
    idle = "within 0 s: it waits for a free slot, or for the values of its arguments"
    with pytest.raises(TimeoutError, match=idle):
        call.result(0)
    assert call.pending is not None
    call.pending.session.note = "waiting: no worker has the label gpu"
    with pytest.raises(TimeoutError, match=r"within 0 s: waiting: no worker has the label gpu\.$"):
        call.exception(0)
    call.mark_started()
    with pytest.raises(TimeoutError, match=r"^call-00000 of \S+ has not ended .* it is running\.$"):
        call.result(0)
    call.end_failed(TimeoutError("its own"))
    with pytest.raises(TimeoutError, match=r"^its own$"):
        call.result(0)


def test_calls_can_be_awaited(desk: Desk) -> None:
    async def both() -> tuple[int, int]:
        long = desk.call(bytes, 100_000)
        return await desk.call(operator.neg, 3), len(await long)

    assert asyncio.run(both()) == (-3, 100_000)

    async def give_up(call: CallFuture[int]) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call, 0.01)

    desk.house.hold = True
    call = desk.call(operator.neg, 3)
    asyncio.run(give_up(call))
    assert call.cancelled()


def test_a_fallback_gets_the_same_arguments(desk: Desk) -> None:
    def fails(number: int) -> int:
        raise ValueError("no")

    def also(number: int) -> int:
        raise KeyError(number)

    first = desk.call(operator.neg, -4)
    good = desk.caller.call(fails, (first,), {}, OPTIONS, fallback=lambda number: number * 2)
    assert good.result(10) == 8
    bad = desk.caller.call(fails, (4,), {}, OPTIONS, fallback=also)
    with pytest.raises(KeyError) as caught:
        bad.result(10)
    (note,) = caught.value.__notes__
    assert note == "It is the fallback of a call that failed: ValueError: no"


def test_what_the_master_refuses_fails_alone(desk: Desk) -> None:
    desk.house.hold = True
    desk.call(operator.neg, 1)
    wait_until(lambda: desk.house.waiting)
    desk.house.refused_functions.add(sha256_of(operator.pos))
    with desk.calls.board.changed:  # so that all are sent together
        before, bad, after = (desk.call(f, 1) for f in (operator.neg, operator.pos, operator.neg))
    with pytest.raises(MrcoreError, match="it is not stored"):
        bad.result(10)
    desk.house.let_go()
    assert [before.result(10), after.result(10)] == [-1, -1]


def test_a_call_that_takes_one_that_was_not_sent_fails_with_it(desk: Desk) -> None:
    desk.house.refused_functions.add(sha256_of(operator.pos))
    with desk.calls.board.changed:  # so that the sender sees all of them at once
        cancelled = desk.call(operator.neg, 1)
        takes_cancelled = desk.call(operator.neg, cancelled)
        assert cancelled.cancel()
        later = desk.call(operator.neg, cancelled)
    for taker in (takes_cancelled, later, desk.call(operator.neg, cancelled)):
        with pytest.raises(RemoteError, match="result of another call was cancelled"):
            taker.result(10)
    with desk.calls.board.changed:
        bad = desk.call(operator.pos, 1)
        taker = desk.call(operator.neg, bad)
        last = desk.call(operator.neg, [taker])
    for future in (bad, taker, last):
        with pytest.raises(MrcoreError, match="it is not stored"):
            future.result(10)
    assert desk.call(operator.neg, 1).result(10) == -1


def test_a_defect_of_the_sender_ends_the_calls_with_an_error(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> NoReturn:
        raise ZeroDivisionError("broken")

    ended: list[object] = []
    monkeypatch.setattr(threading, "excepthook", ended.append)
    monkeypatch.setattr(sender_module, "_plan", breaks)
    with pytest.raises(DefectError, match=r"please report .*\(ZeroDivisionError: broken\)"):
        desk.call(operator.neg, 1).result(10)
    with pytest.raises(DefectError):
        desk.call(operator.neg, 1)
    wait_until(lambda: ended)


def test_a_defect_of_a_watch_ends_the_calls_of_its_session(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[object] = []
    monkeypatch.setattr(threading, "excepthook", ended.append)
    monkeypatch.setattr(desk.calls._watches, "_end", None)
    desk.house.hold = True
    calls = [desk.call(operator.neg, n) for n in range(2)]
    wait_until(lambda: len(desk.house.waiting) == 2)
    desk.house.let_go()
    with pytest.raises(DefectError, match="please report"):
        calls[1].result(10)
    wait_until(lambda: ended)


def test_a_master_at_a_limit_and_one_that_goes_away(desk: Desk) -> None:
    desk.house.limited = 3
    assert desk.call(operator.neg, 1).result(20) == -1
    desk.house.hold = True
    calls = [desk.call(operator.neg, n) for n in range(10)]
    wait_until(lambda: len(desk.house.waiting) == 10)
    desk.house.cut()
    desk.house.let_go()
    assert [call.result(20) for call in calls] == [-n for n in range(10)]
    assert set(desk.house.ran.values()) == {1}


def test_releases_are_sent_while_the_master_is_at_a_limit(desk: Desk) -> None:
    long = desk.call(bytes, 100_000)
    assert len(long.result(10)) == 100_000
    desk.house.limited = 1_000_000
    short = desk.call(operator.neg, 1)
    wait_until(lambda: desk.house.requests["add"] >= 2)
    long.close()
    wait_until(lambda: desk.house.live() == 0)
    desk.house.limited = 0
    assert short.result(10) == -1


def test_one_message_with_calls_is_one_try(desk: Desk) -> None:
    desk.house.limited = 2
    with pytest.raises(LimitError, match="at a limit"):
        desk.house.client().add("session", 0, [])
    assert desk.house.requests["add"] == 1


def test_a_session_is_followed_by_the_next(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "SESSION_CALLS", 10)
    assert [desk.call(operator.neg, n).result(10) for n in range(25)] == [-n for n in range(25)]
    wait_until(lambda: desk.house.requests["close"] == 2)
    assert desk.house.requests["open"] == 3


def test_what_calls_print_is_shown(desk: Desk) -> None:
    desk.house.printed = b"hello\n"
    desk.call(operator.neg, 1).result(10)
    assert desk.shown == [b"hello\n"]


def test_a_client_that_was_closed(desk: Desk) -> None:
    desk.house.hold = True
    call = desk.call(operator.neg, 1)
    wait_until(lambda: desk.house.waiting)
    desk.calls.close()
    assert call.cancelled()
    with pytest.raises(UsageError, match="was shut down, or its client closed"):
        desk.call(operator.neg, 1)
    wait_until(lambda: not [one for one in threading.enumerate() if one.name == "mrcore-calls"])


def test_callers_wait_for_room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "QUEUE_CALLS", 5)
    assert [one.result(10) for one in [desk.call(operator.neg, n) for n in range(200)]] == [
        -n for n in range(200)
    ]


def test_a_callback_may_call(desk: Desk) -> None:
    chained: futures.Future[CallFuture[int]] = futures.Future()
    first = desk.call(operator.neg, 1)
    first.add_done_callback(lambda done: chained.set_result(desk.call(operator.neg, done)))
    assert chained.result(10).result(10) == 1


def test_memory_stays_flat_over_many_calls(desk: Desk) -> None:
    def some(number: int) -> None:
        for _ in desk.map(operator.neg, range(number), chunksize=1):
            pass
        gc.collect()

    some(500)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        some(2_000)
        wait_until(lambda: desk.house.live() == 0)
        gc.collect()
        desk.house.ran.clear()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 500_000
