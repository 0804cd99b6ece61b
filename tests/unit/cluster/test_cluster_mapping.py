"""`map` and `gather`: order, chunks, failures, and maps that nobody draws."""

from __future__ import annotations

import gc
import operator
from collections.abc import Iterator

import pytest

from mrcore.cluster.gathering import gather_values
from mrcore.errors import UsageError
from tests.support.call_house import Desk
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
    wait_until(lambda: desk.house.requests["cancel"] == 10)
