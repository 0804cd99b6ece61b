"""The values of a key: an iterator, of which a second pass raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest

from mrcore.model.task import FailureKind, TaskFailure, TaskResult
from mrcore.plugin.functions import UserFunctions
from tests.support.inprocess import Job, spec_of

READ_TWICE = "RuntimeError: values can be read only once: to read them again, begin with values ="


def max_and_sum(key: str, values: Iterator[int]) -> Any:
    return max(values), sum(values)


def two_loops(key: str, values: Iterator[int]) -> Iterator[Any]:
    for value in values:
        yield key, value
    for value in values:
        yield key, value


def words(key: Any, line: str) -> Iterator[Any]:
    for word in line.split():
        yield word, len(word)


def lengths_as_lists(key: Any, line: str) -> Iterator[Any]:
    for word in line.split():
        yield word, [len(word)]


def failure_of(job: Job) -> TaskFailure:
    results: list[TaskResult] = []
    with pytest.raises(AssertionError) as raised:
        job.run()
    results += raised.value.args
    (failure,) = results
    assert isinstance(failure, TaskFailure)
    return failure


@pytest.mark.parametrize("function", [max_and_sum, two_loops])
@pytest.mark.parametrize("user_map", [words, lengths_as_lists])
@pytest.mark.parametrize(
    ("text", "key"),
    [("a a b\n", "a"), ("a b c\n", "a"), ("b b\n", "b")],
    ids=["among groups", "one value", "last group"],
)
def test_reading_the_values_of_a_key_twice_raises_in_reduce(
    function: Callable[..., Any], user_map: Callable[..., Any], text: str, key: str
) -> None:
    failure = failure_of(Job([text], UserFunctions(map=user_map, reduce=function)))
    assert failure.kind is FailureKind.USER
    assert failure.message.startswith(f"reduce raised {READ_TWICE}")
    assert failure.message.endswith(f", for the key '{key}'")


def always_the_same(key: Any, line: str) -> Iterator[Any]:
    for word in line.split():
        yield word, 1


@pytest.mark.parametrize("user_map", [words, lengths_as_lists, always_the_same])
@pytest.mark.parametrize("memory_bytes", [0, 1], ids=["grouped", "spilled"])
def test_reading_the_values_of_a_key_twice_raises_in_combine(
    user_map: Callable[..., Any], memory_bytes: int
) -> None:
    functions = UserFunctions(map=user_map, combine=max_and_sum, reduce=max_and_sum)
    spec = spec_of(combine=True)
    failure = failure_of(Job(["a a b\n"], functions, spec=spec, memory_bytes=memory_bytes))
    assert failure.message.startswith(f"combine raised {READ_TWICE}")
    assert failure.message.endswith(", for the key 'a'")


def first_and_rest(key: str, values: Iterator[int]) -> Any:
    first = next(values)
    return first + sum(values)


def chunks_within_a_loop(key: str, values: Iterator[int]) -> Any:
    total = 0
    for first in values:
        total += first + sum(islice(values, 2))
    return total


def two_halves(key: str, values: Iterator[int]) -> Any:
    total = 0
    for value in values:
        total += value
        break
    return total + sum(values)


def until_a_default(key: str, values: Iterator[int]) -> Any:
    total = 0
    while (value := next(values, None)) is not None:
        total += value
    assert next(values, None) is None
    return total


def listed(key: str, values: Iterator[int]) -> Any:
    numbers = list(values)
    return sum(numbers) if max(numbers) else 0


def in_batches(key: str, values: Iterator[int]) -> Any:
    remaining = iter(values)
    total = 0
    while batch := list(islice(remaining, 2)):  # the last one may be empty
        total += sum(batch)
    assert next(values, None) is None
    return total


@pytest.mark.parametrize(
    "function",
    [first_and_rest, chunks_within_a_loop, two_halves, until_a_default, listed, in_batches],
)
@pytest.mark.parametrize("combine", [True, False])
def test_one_pass_may_be_made_in_steps(function: Callable[..., Any], combine: bool) -> None:
    functions = UserFunctions(map=words, reduce=function, combine=function)
    text = "a bb a ccc bb bb a a a a\n"
    assert Job([text], functions, spec=spec_of(combine=combine)).run() == [b"a\t6\nbb\t6\nccc\t3\n"]
