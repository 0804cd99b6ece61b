"""Errors that user code may raise, and objects that misbehave when text is made of them."""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Callable
from typing import Any

import pytest

from mrcore.model.task import FailureKind, TaskFailure, TaskOutput
from mrcore.plugin.functions import UserFunctions
from mrcore.plugin.tracebacks import last_line, user_traceback
from mrcore.storage.memory import MemoryStorage
from mrcore.storage.registry import register
from mrcore.util.texts import MAX_TEXT, text_of
from tests.support.inprocess import Job, spec_of, text_spec
from tests.support.task_functions import emit, failing_map, failing_reduce


@pytest.fixture(autouse=True)
def _fresh_memory() -> None:
    register("mem", MemoryStorage)


class Panic(BaseException):
    """Stands for a panic of code in Rust."""


class OddError(Exception):
    """Has no text: there is no such attribute."""

    def __str__(self) -> str:
        return f"failed with {self.reason}"  # type: ignore[attr-defined]


class Mute:
    """Raises wherever text or bytes are made of it."""

    def __repr__(self) -> str:
        raise OddError

    def __reduce__(self) -> str:
        raise OddError


def boom(*arguments: Any) -> Any:
    """Raise what is not an Exception."""
    raise Panic("index out of bounds")


RAISED: list[BaseException] = [
    Panic("index out of bounds"),
    asyncio.CancelledError("stop"),
    GeneratorExit(),
    SystemExit(3),
    BaseExceptionGroup("several", [Panic("one"), ValueError("two")]),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_whatever_map_raises_is_a_failure_with_record_and_frames(error: BaseException) -> None:
    def user_map(key: Any, value: str) -> Any:
        if value == "cd":
            raise error
        yield value, 1

    failure = failing_map(UserFunctions(map=user_map))
    assert failure.kind is FailureKind.USER
    assert failure.message.startswith(f"map raised {type(error).__name__}")
    assert failure.message.endswith("on the record at offset 3 of in/0.txt: cd")
    assert "in user_map" in failure.traceback
    frames = re.findall(r'File "([^"]+)"', failure.traceback)
    assert set(frames) == {__file__}


def failing_in(name: str, function: Callable[..., Any]) -> TaskFailure:
    """Return how a task fails of which this function of the plugin is to blame."""
    given: dict[str, Any] = {"map": emit, name: function}
    functions = UserFunctions(**given)
    return failing_reduce(functions) if name == "reduce" else failing_map(functions, "ab\nab\n")


@pytest.mark.parametrize("function", ["setup", "combine", "partition", "sort_key", "reduce"])
def test_a_panic_of_any_function_is_told(function: str) -> None:
    failure = failing_in(function, boom)
    assert failure.message.startswith(f"{function} raised Panic: index out of bounds")
    assert "in boom" in failure.traceback


def test_a_panic_over_record_batches_is_told() -> None:
    spec = spec_of(input_format="arrow")
    result = Job(['{"a": 1}\n'], UserFunctions(map=boom), spec=spec).run_map(0, "jsonl")
    assert isinstance(result, TaskFailure)
    assert result.message.startswith("map raised Panic: index out of bounds")


def stop(*arguments: Any) -> Any:
    """Leave by the exception that ends loops."""
    return next(iter(()))


@pytest.mark.parametrize("record", ["ab", "ef"])
def test_a_stop_iteration_of_map_loses_no_records(record: str) -> None:
    def user_map(key: Any, value: str) -> Any:
        return stop() if value == record else [(value, 1)]

    failure = failing_map(UserFunctions(map=user_map))
    assert failure.message.startswith("map raised StopIteration: give next() a default, on the ")
    assert failure.message.endswith(f"of in/0.txt: {record}")


@pytest.mark.parametrize("function", ["combine", "partition", "sort_key", "reduce"])
def test_a_stop_iteration_of_any_function_is_told_with_its_key(function: str) -> None:
    failure = failing_in(function, stop)
    assert failure.message.startswith(f"{function} raised StopIteration: give next() a default")
    assert failure.message.endswith("for the key 'ab'")


@pytest.mark.parametrize(
    ("emitted", "words"),
    [
        (Mute, "map returned <Mute without text: OddError>, not pairs"),
        (lambda: [(Mute(), 1)], "Mute"),
        (lambda: [Mute()], "map yielded <Mute without text: OddError>, not a (key, value) pair"),
        (lambda: [("k", Mute())], "cannot be pickled (<OddError without text: AttributeError>)"),
    ],
)
def test_objects_without_text_are_told(emitted: Callable[[], Any], words: str) -> None:
    failure = failing_map(UserFunctions(map=lambda key, value: emitted()))
    assert failure.kind is FailureKind.USER
    assert words in failure.message


def test_an_exception_without_text_is_told() -> None:
    def user_map(key: Any, value: str) -> Any:
        raise OddError

    failure = failing_map(UserFunctions(map=user_map))
    assert (
        "map raised OddError: <OddError without text: AttributeError>, on the record"
        in failure.message
    )
    assert "in user_map" in failure.traceback


def test_what_raises_as_the_part_is_written_is_the_users() -> None:
    functions = UserFunctions(map=emit, reduce=lambda key, values: Mute(), user_paths=(__file__,))
    failure = failing_reduce(functions, spec=text_spec())
    assert failure.kind is FailureKind.USER
    assert failure.message.startswith("reduce raised OddError: <OddError without text")
    assert failure.message.endswith(", for the key 'ab'")


def nested(depth: int) -> Any:
    """Return tuples in tuples, as deep as that."""
    value: Any = ()
    for _ in range(depth):
        value = (value,)
    return value


@pytest.mark.parametrize(
    "functions",
    [
        UserFunctions(map=lambda key, value: [(nested(5_000), 1)]),
        UserFunctions(map=emit, sort_key=lambda value: nested(5_000)),
    ],
)
def test_a_key_that_is_nested_too_deeply_is_told(functions: UserFunctions) -> None:
    failure = failing_map(functions)
    assert failure.kind is FailureKind.USER
    assert "nested too deeply" in failure.message


def chain(length: int) -> BaseException:
    """Return an exception behind `length` others."""
    error: BaseException = ValueError("the first")
    for number in range(length):
        try:
            raise ValueError(f"number {number}") from error
        except ValueError as found:
            error = found
    return error


def test_a_long_chain_of_exceptions_shows_its_end() -> None:
    text = user_traceback(chain(5_000))
    assert text.startswith("[mrcore left out earlier exceptions]\n")
    assert text.endswith("ValueError: number 4999")
    assert "ValueError: number 4980" in text
    assert "ValueError: number 4979" not in text
    assert user_traceback(chain(1)).startswith("ValueError: the first\n")


def test_a_huge_exception_is_cut() -> None:
    huge = "x" * (20 << 20)
    failure = failing_map(UserFunctions(map=lambda key, value: [][huge]))  # type: ignore[call-overload]
    assert len(failure.message) < 9_000
    error = ValueError(huge)
    assert len(user_traceback(error)) < 2 * MAX_TEXT
    assert len(last_line(error)) <= MAX_TEXT
    assert text_of(huge) == "x" * (MAX_TEXT - 1) + "…"


def test_a_traceback_steers_no_terminal() -> None:
    def user_map(key: Any, value: str) -> Any:
        raise ValueError(f"\x1b[31m{value}\r\x9b2J\tnext\nline")

    failure = failing_map(UserFunctions(map=user_map))
    assert failure.traceback.endswith("ValueError: \\x1b[31mab\\r\\x9b2J\tnext\nline")


def test_a_notes_property_that_raises_leaves_the_frames() -> None:
    noted = type("NotedError", (Exception,), {"__notes__": property(boom)})
    with pytest.raises(noted) as caught:
        raise noted("what")
    text = user_traceback(caught.value)
    assert "in test_a_notes_property_that_raises_leaves_the_frames" in text
    assert "NotedError: what" in text


def test_plain_jobs_are_as_before() -> None:
    output = Job(["ab\n"], UserFunctions(map=lambda key, value: [(value, 1)])).run_map(0)
    assert isinstance(output, TaskOutput)
    assert output.records_out == 1


def test_a_module_that_did_not_travel_has_a_hint() -> None:
    def user_map(key: Any, value: str) -> Any:
        importlib.import_module("help" + "er_of_mine")

    failure = failing_map(UserFunctions(map=user_map))
    assert failure.message.startswith(
        "map raised ModuleNotFoundError: No module named 'helper_of_mine' (send a module of yours "
        "by --files, install others on every worker), on the record"
    )
