"""One call: its value, its failure, and what it reads."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mrcore.calls import payload
from mrcore.calls.exceptions import load_exception
from mrcore.calls.references import Need, Reference, Stored
from mrcore.errors import StorageError
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobSpec
from mrcore.model.task import (
    MAX_RESULT_BYTES,
    CallInput,
    CallValue,
    FailureKind,
    TaskFailure,
    TaskOutput,
    TaskResult,
    TaskSpec,
    TaskWork,
)
from mrcore.storage.registry import storage_for
from mrcore.tasks import call as call_module
from mrcore.tasks.call import Calls
from mrcore.tasks.object_cache import ObjectCache
from mrcore.tasks.shipped import ShippedModules
from tests.support.call_making import ObjectFolder, session_spec
from tests.support.fake_clock import FakeClock


class Items:
    """Notes each item that begins."""

    def __init__(self) -> None:
        self.begun: list[tuple[float, int, int]] = []
        self.ended = 0

    def begin_item(self, now: float, done: int, items: int) -> None:
        self.begun.append((now, done, items))

    def end_items(self) -> None:
        self.ended += 1


class House:
    """A process that makes calls, and the state that it reads."""

    def __init__(self, folder: Path) -> None:
        self.state_uri = f"file://{folder}/state"
        self.objects = ObjectFolder(folder / "state")
        self.clock = FakeClock()
        self.calls = Calls(ShippedModules(folder / "modules"), self.clock)
        self.items = Items()
        self.made = 0

    def run(self, call: CallInput, spec: JobSpec | None = None) -> TaskResult:
        self.made += 1
        attempt = AttemptId(TaskId("calls-1", 0, self.made), AttemptNumber(1, self.made))
        spec = session_spec() if spec is None else spec
        return self.calls.run(TaskSpec(attempt, spec, self.state_uri, TaskWork(call)), self.items)

    def output(self, call: CallInput, spec: JobSpec | None = None) -> TaskOutput:
        result = self.run(call, spec)
        assert isinstance(result, TaskOutput), result
        return result

    def value(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        return payload.load_value(
            self.output(self.objects.call(function, *arguments, **keywords)).result
        )

    def failure(self, call: CallInput) -> TaskFailure:
        result = self.run(call)
        assert isinstance(result, TaskFailure), result
        assert result.kind is FailureKind.USER
        return result


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_call_returns_its_value(house: House) -> None:
    assert house.value(lambda a, *, b: [a, b], 1, b=2) == [1, 2]
    assert house.value(lambda: None) is None
    assert house.value("a-b".split, "-") == ["a", "b"]


def test_a_call_of_an_async_function_returns_what_it_awaits(house: House) -> None:
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        if n < 0:
            raise ValueError(n)
        return 2 * n

    assert house.value(double, 21) == 42
    failure = house.failure(house.objects.call(double, -1))
    assert "double raised ValueError: -1" in failure.message


def test_a_long_value_is_an_object_of_the_attempt(house: House) -> None:
    call = house.objects.call(lambda n: b"x" * n, MAX_RESULT_BYTES)
    output = house.output(call)
    assert output.object is not None
    assert output.object.uri == f"{house.state_uri}/results/calls-1/call-00001@1.1"
    assert output.result == b""
    data = storage_for(output.object.uri).read(output.object.uri)
    assert output.bytes_out == len(data)
    assert payload.load_value(data) == b"x" * MAX_RESULT_BYTES
    short = house.output(house.objects.call(lambda n: b"x" * n, MAX_RESULT_BYTES - 100))
    assert short.object is None


def test_what_a_function_raises_travels_with_its_class_and_the_users_frames(house: House) -> None:
    def inner(key: str) -> int:
        return {"a": 1}[key]

    failure = house.failure(house.objects.call(lambda: inner("b")))
    assert failure.message == "<lambda> raised KeyError: 'b'"
    assert "in inner" in failure.traceback
    assert "mrcore/tasks" not in failure.traceback
    again = load_exception(failure.exception, failure.message, failure.traceback)
    assert isinstance(again, KeyError)
    assert again.args == ("b",)


def test_sys_exit_fails_the_call_and_does_not_reach_the_caller_as_an_exit(house: House) -> None:
    def leave() -> None:
        sys.exit(3)

    failure = house.failure(house.objects.call(leave))
    assert failure.message == ("leave called sys.exit(3): return, or raise an exception instead")
    assert failure.exception == b""


def test_a_result_that_cannot_be_pickled_is_a_failure_of_the_call(house: House) -> None:
    def numbers() -> Any:
        return (n for n in [1])

    failure = house.failure(house.objects.call(numbers))
    assert failure.message.startswith("The result of numbers cannot be sent to another process")
    assert failure.traceback == ""


def refuse() -> None:
    raise ImportError("not here")


class Unloadable:
    def __reduce__(self) -> Any:
        return refuse, ()


def test_a_function_or_argument_that_cannot_be_loaded_is_reported(house: House) -> None:
    odd = Unloadable()
    failure = house.failure(house.objects.call(lambda: odd))
    assert failure.message == (
        "the function of the call cannot be loaded on the worker: ImportError: not here"
    )
    failure = house.failure(house.objects.call(len, odd))
    assert failure.message == (
        "the arguments of len cannot be loaded on the worker: ImportError: not here"
    )


# Values of other calls, and stored ones.


def refer(value: object) -> Reference | None:
    return value if isinstance(value, Need | Stored) else None


def test_values_of_other_calls_and_stored_ones_are_put_in_their_places(house: House) -> None:
    long = house.output(house.objects.call(lambda: ["y"] * 100_000))
    assert long.object is not None
    stored = Stored(house.objects.put(payload.dump_value({"big": 1})))
    call = house.objects.call(
        lambda a, pair, b: (a, len(pair[0]), pair[0] is pair[1], b),
        Need(0), [Need(1), Need(1)], b=stored, refer=refer,
        values=[CallValue(data=payload.dump_value("first")), CallValue(object=long.object)],
    )  # fmt: skip
    value = payload.load_value(house.output(call).result)
    assert value == ("first", 100_000, True, {"big": 1})


def test_a_stored_value_is_read_once_and_is_new_for_each_call(house: House) -> None:
    sha256 = house.objects.put(payload.dump_value([1]))
    call = house.objects.call(lambda a: [*a, a.append(9)], Stored(sha256), refer=refer)
    assert payload.load_value(house.output(call).result) == [1, None]
    (house.objects.folder / sha256).unlink()
    assert payload.load_value(house.output(call).result) == [1, None]


def test_objects_that_are_gone_or_damaged_are_the_fault_of_the_store(house: House) -> None:
    call = house.objects.call(len, "abc")
    path = house.objects.folder / call.function
    path.write_bytes(b"other")
    with pytest.raises(StorageError, match="is damaged"):
        house.run(call)
    path.unlink()
    with pytest.raises(StorageError, match="is not there: it was stored too long ago"):
        house.run(call)
    value = house.output(house.objects.call(lambda: "x" * 100_000)).object
    assert value is not None
    assert storage_for(value.uri).delete(value.uri)
    taking = house.objects.call(len, Need(0), refer=refer, values=[CallValue(object=value)])
    with pytest.raises(StorageError, match="which the call takes, is not there any more"):
        house.run(taking)


def test_the_cache_of_objects_is_bounded_by_bytes(house: House) -> None:
    cache = ObjectCache(limit_bytes=100)
    names = [house.objects.put(bytes([n]) * 40) for n in range(3)]
    for name in [names[0], names[1], names[0], names[2]]:
        assert len(cache.read(house.state_uri, name)) == 40
    large = house.objects.put(b"x" * 101)
    assert len(cache.read(house.state_uri, large)) == 101
    assert cache.kept_bytes == 80
    for name in names:
        (house.objects.folder / name).unlink()
    assert cache.read(house.state_uri, names[0])
    with pytest.raises(StorageError):
        cache.read(house.state_uri, names[1])


def test_functions_stay_loaded_within_bounds(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def counting() -> Callable[[], int]:
        seen = [0]

        def count() -> int:
            seen[0] += 1
            return seen[0]

        return count

    calls = [house.objects.call(counting()) for _ in range(2)]
    assert len({call.function for call in calls}) == 1
    other = house.objects.call(lambda: 0)

    def counted() -> int:
        return int(payload.load_value(house.output(calls[0]).result))

    assert [counted(), counted()] == [1, 2]
    house.output(other)
    assert counted() == 3
    monkeypatch.setattr(call_module, "MAX_FUNCTIONS", 1)
    house.output(house.objects.call(lambda: 1))
    assert counted() == 1


def test_a_value_is_an_object_where_the_master_is_short_of_memory(house: House) -> None:
    call = house.objects.call(bytes, 2_000)
    full, spared = house.run(call), house.run(msgspec.structs.replace(call, store_value=True))
    assert isinstance(full, TaskOutput)
    assert isinstance(spared, TaskOutput)
    assert (full.object, spared.result) == (None, b"")
    assert spared.object is not None
    assert storage_for(spared.object.uri).read(spared.object.uri) == full.result
    short = house.run(msgspec.structs.replace(house.objects.call(bytes, 9), store_value=True))
    assert isinstance(short, TaskOutput)
    assert payload.load_value(short.result) == bytes(9)


def test_long_arguments_come_from_an_object(house: House) -> None:
    data = payload.dump_arguments(["z" * 100_000], {})
    call = CallInput(
        function=house.objects.put(payload.dump_function(len)),
        arguments_object=house.objects.put(data),
    )
    assert payload.load_value(house.output(call).result) == 100_000


def test_each_call_starts_in_the_same_folder(house: House, tmp_path: Path) -> None:
    before = os.getcwd()  # noqa: PTH109 - as the tested code asks
    try:
        house.value(os.chdir, str(tmp_path))
        assert house.value(os.getcwd) == before
    finally:
        os.chdir(before)


# One call for many items.


def test_an_item_that_fails_does_not_spoil_the_others(house: House) -> None:
    call = house.objects.each(lambda a, b: a / b, [(1, 1), (1, 0), (4, 2)])
    output = house.output(call)
    outcomes = payload.load_outcomes(output.result)
    assert outcomes.values == [1.0, None, 2.0]
    failed = outcomes.failures[1]
    assert list(outcomes.failures) == [1]
    assert failed.message == "<lambda> raised ZeroDivisionError: division by zero"
    again = load_exception(failed.exception, failed.message, failed.traceback)
    assert isinstance(again, ZeroDivisionError)
    assert (output.records_in, output.records_out) == (3, 2)


def test_items_are_tried_again_with_their_arguments_as_they_were(house: House) -> None:
    tries: list[int] = []

    def flaky(items: list[int]) -> int:
        items.append(0)
        if len(tries_here) < 2:
            tries_here.append(1)
            raise OSError("not yet")
        return len(items)

    tries_here = tries
    call = house.objects.each(flaky, [([5],), ([6],)])
    outcomes = payload.load_outcomes(house.output(call, session_spec(retries=2)).result)
    assert outcomes.values == [2, 2]
    assert outcomes.failures == {}
    assert house.clock.slept == [0.1, 0.2]
    later = pytest.approx(1000.3)
    assert house.items.begun == [(1000.0, 0, 2), (1000.1, 0, 2), (later, 0, 2), (later, 1, 2)]
    assert house.items.ended == 1
    failing = house.objects.each(lambda: 1 // 0, [()])
    outcomes = payload.load_outcomes(house.output(failing, session_spec(retries=1)).result)
    assert list(outcomes.failures) == [0]
    assert house.clock.slept == [0.1, 0.2, 0.1]
