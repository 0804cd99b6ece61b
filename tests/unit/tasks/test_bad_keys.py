"""Keys at which reduce or combine is, and those that they do not get."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mrcore
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.task import Mark, RunInput, Skip, TaskSpec, TaskWork
from mrcore.plugin.context import Context
from mrcore.tasks.bad_keys import BadKeys, key_mark
from mrcore.tasks.progress import NoProgress
from mrcore.tasks.skipped import Guard, Skipped
from tests.support.specs import job_spec


class Marks(NoProgress):
    """Notes the keys that are marked."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    def mark_key(self, mark: Mark) -> None:
        self.noted.append(mark.uri)

    def leave_keys(self, function: str) -> None:
        self.noted.append(f"no key of {function}")


def bad_keys(
    name: str, marks: Marks, *skipped: str, mark: bool = True, timeout: float | None = None
) -> tuple[BadKeys, Skipped]:
    """Return the keys of a task that has to skip some, and those that it has skipped."""
    spec = TaskSpec(
        AttemptId(TaskId("job", 1, 0), AttemptNumber(1, 1)),
        job_spec(record_timeout_seconds=timeout),
        "file:///state",
        TaskWork(RunInput(())),
        mark_records=mark,
        skip=tuple(Skip(key_mark(key, name), f"{key} is bad") for key in skipped),
    )
    return guarding(spec, marks, name)


def guarding(spec: TaskSpec, marks: Marks, name: str) -> tuple[BadKeys, Skipped]:
    """Return the keys of a task of this specification, and those that it has skipped."""
    found, context = Skipped(spec, Path()), Context(task="reduce-00000", params={})
    return BadKeys(Guard(spec, marks, context, found, careful=False), name), found


def plain(key: str, values: list[int]) -> int:
    """Add up."""
    return sum(values)


def generator(key: str, values: list[int]) -> Iterator[Any]:
    """Add up."""
    yield key, sum(values)


def iterator(key: str, values: list[int]) -> Any:
    """Add up."""
    return iter([(key, sum(values))])


@pytest.mark.parametrize("function", [plain, generator, iterator])
def test_a_skipped_key_is_left_out_by_reduce_and_passed_on_by_combine(function: Any) -> None:
    marks = Marks()
    reduce, skipped = bad_keys("reduce of step 2", marks, "b")
    guarded = reduce.guarded(function)
    good = guarded("a", [1, 2])
    assert good == 3 if function is plain else list(good) == [("a", 3)]
    assert not list(guarded("b", [1, 2]) or ())
    assert [(bad.shown, bad.record, bad.cause) for bad in skipped.few] == [
        ("reduce of step 2", "'b'", "b is bad")
    ]
    assert set(marks.noted) == {"key 'a'", "no key of reduce"}
    assert marks.noted[-1] == "no key of reduce", "the key before is not to blame for what follows"
    combine, skipped = bad_keys("combine", Marks(), "b")
    guarded = combine.guarded(function)
    for _ in range(2):  # it runs several times for a key, which is one bad key
        assert list(guarded("b", [1, 2])) == [("b", 1), ("b", 2)]
    assert len(skipped.few) == 1


def test_an_iterator_that_is_read_later_is_marked_again() -> None:
    """Plain functions are called for many keys before what they return is read."""
    marks = Marks()
    guarded = bad_keys("reduce", marks)[0].guarded(iterator)
    first, second = guarded("a", [1]), guarded("b", [2])
    assert marks.noted == ["key 'a'", "key 'b'"]
    assert [*first, *second] == [("a", 1), ("b", 2)]
    assert marks.noted[2:] == ["key 'a'", "key 'b'"]


def test_each_function_skips_its_own_keys() -> None:
    spoiled, _ = bad_keys("reduce", Marks(), "b")
    assert not spoiled.guarded(plain)("b", [1])
    combine, _ = guarding(
        TaskSpec(
            AttemptId(TaskId("job", 1, 0), AttemptNumber(1, 1)),
            job_spec(),
            "file:///state",
            TaskWork(RunInput(())),
            skip=(Skip(key_mark("b", "reduce")),),
        ),
        Marks(),
        "combine",
    )
    assert combine.guarded(plain) is plain, "nothing is to be done"


def test_aggregates_are_guarded_only_where_it_matters() -> None:
    """Columns of numbers are fast only where the aggregate is known."""
    timed, _ = bad_keys("reduce", Marks(), timeout=1.0)
    assert timed.guarded(mrcore.sum) is mrcore.sum
    assert timed.guarded(plain) is not plain
    assert bad_keys("reduce", Marks())[0].guarded(mrcore.sum) is not mrcore.sum
    # A count of counts would be wrong: the shuffle has to know this combiner.
    assert bad_keys("combine", Marks(), "b")[0].guarded(mrcore.count) is mrcore.count


def test_long_keys_differ_by_their_digest() -> None:
    long = "x" * 1_000
    first, second = key_mark(long + "1", "reduce"), key_mark(long + "2", "reduce")
    assert first.uri == second.uri
    assert first != second
