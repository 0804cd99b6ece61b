"""Errors of jobs with several steps: they name the function, its step, and the record or key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mrcore import Step
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput
from mrcore.plugin.checks import check_functions
from mrcore.storage.memory import MemoryStorage
from mrcore.storage.registry import register
from mrcore.tasks.progress import NoProgress
from tests.support.inprocess import Job


@pytest.fixture(autouse=True)
def _fresh_memory() -> None:
    register("mem", MemoryStorage)


def words(key: Any, line: str) -> Iterator[Any]:
    for word in line.split():
        yield word, 1


def passed(key: Any, value: Any) -> Iterator[Any]:
    yield key, value


def first(key: Any, values: Any) -> Any:
    return next(values)


def failing(*steps: Step) -> TaskFailure:
    """Return how the first task fails that does."""
    job = Job(["ab\ncd\n"], check_functions({"steps": steps}, name="job.py"))
    result = job.run_map(0)
    for stage in range(1, len(job.stages)):
        if isinstance(result, TaskOutput):
            job.outputs = [result]
            result = job.run_reduce(0, None, stage)
    assert isinstance(result, TaskFailure), result
    assert result.kind is FailureKind.USER
    return result


def boom(*arguments: Any) -> Any:
    raise LookupError("no model")


def late_boom(*arguments: Any) -> Iterator[Any]:
    yield "k", 1
    raise LookupError("no model")


IN = Step(map=lambda key, line: [(line, 1)], reduce=lambda key, values: 1)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            [Step(map=boom, reduce=first), IN],
            "map of step 1 raised LookupError: no model, on the record at offset 0 of in/0.txt: ab",
        ),
        (
            [Step(map=lambda key, line: [(line, 1)]), Step(map=boom, reduce=first)],
            "map of step 2 raised LookupError: no model, on the record at offset 0 of in/0.txt: ab",
        ),
        (
            [Step(map=lambda key, line: [(line, 1)]), Step(map=late_boom, reduce=first)],
            "map of step 2 raised LookupError: no model, on the record at offset 0 of in/0.txt: ab",
        ),
        (
            [IN, Step(map=boom, reduce=first)],
            "map of step 2 raised LookupError: no model, for the key 'ab'",
        ),
        (
            [IN, Step(map=late_boom, reduce=first)],
            "map of step 2 raised LookupError: no model, for the key 'ab'",
        ),
        (
            [Step(map=words, reduce=boom), IN],
            "reduce of step 1 raised LookupError: no model, for the key 'ab'",
        ),
        (
            [Step(map=words, reduce=late_boom), Step(map=passed, reduce=first)],
            "reduce of step 1 raised LookupError: no model, for the key 'ab'",
        ),
        (
            [IN, Step(map=passed, combine=boom, reduce=first)],
            "combine of step 2 raised LookupError: no model, for the key 'k'",
        ),
        (
            [IN, Step(map=passed, partition=lambda key, n: n, reduce=first)],
            "partition of step 2 returned 1 for the key 'k'",
        ),
        (
            [IN, Step(map=passed, sort_key=boom, reduce=first)],
            "sort_key of step 2 raised LookupError: no model, for the key",
        ),
        (
            [IN, Step(map=lambda key, value: [3], reduce=first)],
            "map of step 2 yielded 3, not a (key, value) pair, for the key 'ab'",
        ),
        (
            [IN, Step(map=lambda key, value: [([key], value)], reduce=first)],
            "the key ['ab'] has the type list: keys are None, bool, int, float, str, bytes and "
            "tuples of these (emitted by map of step 2)",
        ),
        (
            [IN, Step(map=passed, map_finish=boom, reduce=first)],
            "map_finish of step 2 raised LookupError: no model",
        ),
        (
            [Step(map=words, reduce=first, reduce_finish=boom), IN],
            "reduce_finish of step 1 raised LookupError: no model",
        ),
        (
            [Step(map=words, reduce=lambda key, values: lambda: 0), IN],
            "reduce of step 1 emitted, for the key 'ab', a value of type function that cannot",
        ),
    ],
)
def test_errors_name_function_and_step(steps: list[Step], message: str) -> None:
    if "combine" in message:
        steps = [Step(map=lambda key, line: [("k", 1), ("k", 2)]), *steps[1:]]
    if "partition" in message:
        steps = [Step(map=lambda key, line: [("k", 1)]), *steps[1:]]
    assert failing(*steps).message.startswith(message)


def test_an_error_of_a_later_map_has_the_users_frames_alone() -> None:
    failure = failing(Step(map=words), Step(map=boom, reduce=first))
    assert failure.traceback.count("Traceback") == 1
    assert "mrcore" not in failure.traceback.replace(__file__, "")


def test_a_record_that_a_later_map_fails_on_can_be_skipped() -> None:
    failure = failing(
        Step(map=words), Step(map=lambda word, one: [(word, 1 / (word != "cd"))], reduce=first)
    )
    assert failure.mark is not None
    assert failure.mark.offset == 3


def test_a_later_map_gets_a_record_before_the_next_one_is_marked() -> None:
    seen: list[Any] = []

    class Marks(NoProgress):
        def mark(self, piece_uri: str, offset: int) -> None:
            seen.append(offset)

    def later(word: str, one: int) -> Iterator[Any]:
        seen.append(word)
        yield word, one

    steps = (Step(map=words), Step(map=later, reduce=first))
    functions = check_functions({"steps": steps}, name="job.py")
    Job(["ab cd\nef\n"], functions, progress=Marks()).run_map(0, mark_records=True)
    assert seen == [0, "ab", "cd", 6, "ef"]
