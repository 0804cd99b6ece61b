"""Pairs that a later map of a task is at, and those that it does not get."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.skipping import is_key, is_pair, marked_function, pair_place
from mrcore.model.task import Mark, RunInput, Skip, TaskSpec, TaskWork
from mrcore.plugin.context import Context
from mrcore.shuffle.user_code import UserCodeError
from mrcore.tasks.bad_pairs import GuardedMap
from mrcore.tasks.emit import PairTaker
from mrcore.tasks.progress import NoProgress
from mrcore.tasks.skipped import Guard, Skipped
from tests.support.specs import job_spec


class Marks(NoProgress):
    """Notes the pairs that are marked."""

    def __init__(self) -> None:
        self.noted: list[Mark] = []

    def mark_key(self, mark: Mark) -> None:
        self.noted.append(mark)


class Taken(PairTaker):
    """Output that keeps all pairs."""

    def __init__(self) -> None:
        self.pairs: list[Any] = []

    def start_batch(self, records: int, size_bytes: int) -> None:
        """Do nothing."""

    def write(self, function: str, keys: list[Any], values: list[Any]) -> None:
        self.pairs += zip(keys, values, strict=True)

    def judge(self, keys: list[Any], values: list[Any]) -> None:
        """Refuse nothing."""


class House:
    """A later map in a task that skips some pairs."""

    def __init__(self, function: Any, *skip: Mark, marks: bool = True, careful: bool = False):
        spec = TaskSpec(
            AttemptId(TaskId("job", 1, 0), AttemptNumber(1, 1)),
            job_spec(max_bad_records=9),
            "file:///state",
            TaskWork(RunInput(())),
            mark_records=marks,
            skip=tuple(Skip(mark, "it died") for mark in skip),
        )
        self.marks = Marks()
        self.taken = Taken()
        self.skipped = Skipped(spec, Path())
        context = Context(task="reduce-00000", params={})
        guard = Guard(spec, self.marks, context, self.skipped, careful)
        self.map = GuardedMap({"map": function}, " of step 2", self.taken, guard, is_last=True)

    def write(self, *pairs: tuple[Any, Any]) -> list[Mark]:
        """Map pairs, and return the marks of those that were noted."""
        self.map.write("reduce", [key for key, _ in pairs], [value for _, value in pairs])
        return self.marks.noted


def yielding(key: str, value: int) -> Iterator[Any]:
    yield key, value


def listing(key: str, value: int) -> list[Any]:
    return [(key, value)]


PAIRS = (("a", 1), ("a", 2), ("b", 3), ("a", 4))


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("function", [yielding, listing])
def test_each_pair_is_noted_by_its_key_and_number(function: Any, careful: bool) -> None:
    house = House(function, careful=careful)
    marks = house.write(*PAIRS)
    assert house.taken.pairs == [*PAIRS]
    assert [pair_place(mark) for mark in marks] == [
        ("map of step 2", f"'{key}'") for key, _ in PAIRS
    ]
    assert marks[0] == marks[3], "a key begins anew where other keys have come between"
    assert len(set(marks)) == 3
    assert {marked_function(mark) for mark in marks} == {"map"}
    assert all(map(is_pair, marks))
    assert not any(map(is_key, marks))


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("function", [yielding, listing])
def test_a_pair_that_is_ordered_to_be_skipped_is_left_out(function: Any, careful: bool) -> None:
    second = House(function).write(*PAIRS)[1]
    house = House(function, second, careful=careful)
    house.write(*PAIRS[:1])
    house.write(*PAIRS[1:])  # pairs come some at a time, and the cut does not matter
    assert house.taken.pairs == [("a", 1), ("b", 3), ("a", 4)]
    (bad,) = house.skipped.few
    assert (bad.shown, bad.offset, bad.record) == ("map of step 2", 1, "('a', 2)")
    assert bad.cause == "it died"


def test_an_error_of_a_noted_pair_has_its_mark() -> None:
    def failing(key: str, value: int) -> Iterator[Any]:
        if value == 3:
            raise KeyError(key)
        yield key, value

    house = House(failing)
    with pytest.raises(UserCodeError) as failed:
        house.write(*PAIRS)
    assert failed.value.key == "b"
    assert failed.value.mark == House(yielding).write(*PAIRS)[2]


def test_nothing_is_noted_where_nothing_is_asked() -> None:
    house = House(yielding, marks=False)
    assert not house.write(*PAIRS)
    assert house.taken.pairs == [*PAIRS]
