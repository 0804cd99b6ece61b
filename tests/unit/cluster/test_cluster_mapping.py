"""`map` and `gather`: order, chunks, failures, and maps that nobody draws."""

from __future__ import annotations

import functools
import gc
import operator
import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import pytest

from mrcore.calls import payload
from mrcore.cluster.gathering import gather_values
from mrcore.cluster.mapping import SLOTS_SECONDS, MapResult, SlotCount
from mrcore.cluster.scattered import Scattered
from mrcore.errors import ClusterUnreachableError, PicklingError, UsageError
from tests.support.call_house import OPTIONS, Desk
from tests.support.fake_clock import FakeClock
from tests.support.waiting import wait_until


def test_map_is_lazy_and_in_order(desk: Desk) -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(10_000):
            taken.append(number)
            yield number

    found = desk.map(operator.neg, numbers(), chunksize=1)
    assert len(taken) <= 2_000
    assert list(found) == [-n for n in range(10_000)]
    assert list(desk.map(operator.add, [1, 2, 3], [4, 5])) == [5, 7]
    assert list(desk.map(operator.neg, range(10_000))) == [-n for n in range(10_000)]
    assert sorted(desk.map(operator.neg, range(100)).as_completed()) == sorted(
        -n for n in range(100)
    )


def test_results_as_they_come_are_all_of_them_and_each_once(desk: Desk) -> None:
    found = desk.map(operator.neg, range(3_000), chunksize=1)
    first = [next(found) for _ in range(10)]  # takes the news of chunks that ended meanwhile
    assert first == [-n for n in range(10)]
    assert sorted([*first, *found.as_completed()]) == sorted(-n for n in range(3_000))


def test_map_and_failures(desk: Desk) -> None:
    found = desk.map(lambda n: 1 // n, [1, 0, -1], chunksize=3)
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert list(found) == []
    one, error, two = desk.map(lambda n: 1 // n, [1, 0, -1], chunksize=3, errors="return")
    assert (one, two) == (1, -1)
    assert isinstance(error, ZeroDivisionError)
    with pytest.raises(UsageError, match="chunksize is less than 1"):
        desk.map(operator.neg, [1], chunksize=0)
    with pytest.raises(UsageError, match="at least one iterable"):
        desk.map(operator.neg)


def test_items_that_take_futures_fail_alone(desk: Desk) -> None:
    desk.house.hold = True
    bad, good = desk.call(lambda: 1 / 0), desk.call(operator.neg, 1)
    wait_until(lambda: len(desk.house.waiting) == 2)
    found = desk.map(operator.neg, [1, bad, 3, good, 5], chunksize=5, errors="return")
    wait_until(lambda: len(desk.house.waiting) == 7)
    desk.house.let_go()
    one, error, *others = found
    assert [one, *others] == [-1, -3, 1, -5]
    assert isinstance(error, BaseException)
    # Now it is known here that it has failed.
    with pytest.raises(ZeroDivisionError):
        bad.result(10)
    one, error, *others = desk.map(operator.neg, [1, bad, 3], chunksize=3, errors="return")
    assert [one, *others] == [-1, -3]
    assert isinstance(error, ZeroDivisionError)


def test_an_item_that_raises_stop_iteration_is_not_the_end(desk: Desk) -> None:
    found = desk.map(lambda n: next(iter(range(n))), [1, 0, 1], chunksize=3)
    assert next(found) == 0
    with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
        next(found)
    assert isinstance(caught.value.__cause__, StopIteration)


def test_gathering(desk: Desk) -> None:
    good, bad = desk.call(operator.neg, 1), desk.call(lambda: 1 / 0)
    assert gather_values([good, good], "raise") == [-1, -1]
    with pytest.raises(ZeroDivisionError):
        gather_values([good, bad], "raise")
    assert gather_values([bad, good], "skip") == [-1]
    error, value = gather_values([bad, good], "return")
    assert (type(error), value) == (ZeroDivisionError, -1)
    for given, how, said in (
        ([good, 3], "raise", "gather needs futures. It got 3 among them."),
        (good, "raise", "gather needs a list of futures. It got <CallFuture"),
        ([good, bad], "ignore", 'errors is not "raise", "return" or "skip"'),
    ):
        with pytest.raises(UsageError) as caught:
            gather_values(given, how)  # type: ignore[arg-type]
        assert said in str(caught.value)


def test_a_map_that_nobody_draws_is_cancelled(desk: Desk) -> None:
    desk.house.hold = True
    found = desk.map(operator.neg, range(10), chunksize=1)
    wait_until(lambda: len(desk.house.waiting) == 10)
    del found
    gc.collect()
    wait_until(lambda: not desk.house.waiting)  # one may be cancelled twice, which is harmless


def scattered(desk: Desk, value: list[int]) -> Scattered[list[int]]:
    data = payload.dump_value(value)
    return Scattered(desk.calls.store_now(data), len(data), lambda _: value)


def test_partials_take_futures_and_scattered_values(desk: Desk) -> None:
    shared = scattered(desk, [10, 20, 30])
    assert desk.call(functools.partial(operator.getitem, shared), 1).result(10) == 20
    desk.house.hold = True
    base = desk.call(operator.neg, -16)
    read = desk.caller.call(
        functools.partial(divmod, 1), (0,), {}, OPTIONS, functools.partial(int, base=base)
    )
    found = desk.call(functools.partial(int, base=base), "f0")
    desk.house.let_go()
    assert found.result(10) == 0xF0
    with pytest.raises(TypeError):  # of the fallback, which gets 1 and 0 in place of a text
        read.result(10)
    assert desk.call(functools.partial(divmod, 7), 2).result(10) == (3, 1)


def test_a_map_of_a_partial_shares_its_values_over_whole_chunks(desk: Desk) -> None:
    shared = scattered(desk, list(range(0, 100, 10)))
    add = functools.partial(operator.getitem, shared)
    before = desk.house.calls()
    assert list(desk.map(add, range(10), chunksize=5)) == list(range(0, 100, 10))
    assert desk.house.calls() == before + 2
    desk.house.hold = True
    base = desk.call(operator.neg, -16)
    wait_until(lambda: desk.house.waiting)
    before = desk.house.calls()
    found = desk.map(functools.partial(int, base=base), ["a", "b", "c", "d"], chunksize=2)
    own = desk.map(functools.partial(pow, base), [2, desk.call(operator.neg, -3)], chunksize=2)
    desk.house.let_go()
    assert list(found) == [10, 11, 12, 13]
    assert list(own) == [256, 4096]
    # A future of one item is for its own chunk, and one for all items is not.
    assert desk.house.calls() == before + 2 + 1 + 2
    with pytest.raises(PicklingError, match="the results of a map stay in the program"):
        desk.call(list, found)


def test_a_map_sends_more_when_workers_have_joined(desk: Desk) -> None:
    desk.house.hold = True
    slots = 1
    found = desk.map(operator.neg, range(100), slots=lambda: slots)
    wait_until(lambda: len(desk.house.waiting) == 4)
    slots = 3
    desk.house.let_go()
    assert next(found) == 0
    desk.house.hold = True
    wait_until(lambda: not desk.house.waiting)
    found._feed()
    assert found._in_flight >= 12 - 4
    desk.house.let_go()
    assert sum(1 for _ in found) == 99


def test_the_number_of_slots_is_asked_for_now_and_then() -> None:
    clock = FakeClock()
    answers: list[int | Exception] = [1, 8, ClusterUnreachableError("gone"), 2]

    def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    slots = SlotCount(ask, clock)
    assert [slots(), slots()] == [1, 1]
    clock.advance(SLOTS_SECONDS)
    assert [slots(), slots()] == [8, 8]
    clock.advance(SLOTS_SECONDS)
    assert [slots(), slots()] == [8, 8]
    clock.advance(SLOTS_SECONDS)
    assert slots() == 2


def test_several_threads_draw_from_one_map(desk: Desk) -> None:
    found = desk.map(operator.neg, range(1_000), chunksize=3)
    with futures.ThreadPoolExecutor(4) as threads:
        drawn = [threads.submit(list, found) for _ in range(4)]
        assert sorted(n for one in drawn for n in one.result(20)) == sorted(
            -n for n in range(1_000)
        )


def test_a_map_that_another_thread_cancels_ends(desk: Desk) -> None:
    desk.house.hold = True
    found = desk.map(operator.neg, range(10), chunksize=2)
    with futures.ThreadPoolExecutor(1) as thread:
        drawn = thread.submit(list, found)
        wait_until(lambda: len(desk.house.waiting) == 5)
        found.cancel()
        assert drawn.result(10) == []


@pytest.mark.parametrize("draw", [next, lambda found: next(found.as_completed())])
def test_ctrl_c_at_any_moment_of_a_wait_cancels_a_map(
    draw: Callable[[MapResult[int]], int], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    desk.house.hold = True
    found = desk.map(operator.neg, range(10), chunksize=1)
    wait_until(lambda: len(desk.house.waiting) == 10)
    monkeypatch.setattr(found._bar, "draw", interrupt)
    with pytest.raises(KeyboardInterrupt):
        draw(found)
    wait_until(lambda: not desk.house.waiting)


def test_an_item_that_cannot_travel_is_named(desk: Desk) -> None:
    items = [1, 2, 3, threading.Lock()]
    for chunksize in (1, 3, 4):
        with pytest.raises(PicklingError, match="argument 1 of the call for item 3 cannot be sent"):
            list(desk.map(str, items, chunksize=chunksize))
