"""Functions, arguments, values and outcomes of calls as bytes."""

from __future__ import annotations

import functools
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from mrcore.calls import payload
from mrcore.calls.references import Need, Reference, Stored
from mrcore.errors import PicklingError

LOCK = threading.Lock()
FACTOR = 3


class Point:
    """A class that no other process has."""

    def __init__(self, x: int) -> None:
        self.x = x

    def scaled(self) -> int:
        return self.x * FACTOR


class Handle:
    def __init__(self, number: int) -> None:
        self.number = number


def refuse(reference: Reference) -> object:
    raise AssertionError(f"nothing refers to {reference}")


def times(x: int) -> int:
    return x * FACTOR


@functools.cache
def fib(n: int) -> int:
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def in_another_process(tmp_path: Path, data: bytes, *arguments: Any) -> Any:
    """Call a pickled function in a process that has none of this one's modules."""
    (tmp_path / "function").write_bytes(data)
    (tmp_path / "arguments").write_bytes(payload.dump_arguments(arguments, {}))
    script = """if True:
        from pathlib import Path
        from mrcore.calls import payload
        from mrcore.plugin import by_value
        by_value.give_main_away()
        def no(reference): raise AssertionError
        function = payload.load_function(Path("function").read_bytes())
        given, named = payload.load_arguments(Path("arguments").read_bytes(), no)
        Path("value").write_bytes(payload.dump_value(function(*given, **named)))
    """
    subprocess.run([sys.executable, "-P", "-c", script], cwd=tmp_path, check=True, timeout=60)
    return payload.load_value((tmp_path / "value").read_bytes())


def test_functions_of_a_local_module_travel_by_value(tmp_path: Path) -> None:
    data = payload.dump_function(lambda x: (times(x), fib(30), Point(x)))
    tripled, number, point = in_another_process(tmp_path, data, 4)
    assert (tripled, number) == (12, 832040)
    # Its class came by value too, and is the one of this process again.
    assert type(point) is Point
    assert point.scaled() == 12


def test_arguments_of_local_classes_arrive_as_such(tmp_path: Path) -> None:
    def scaled(points: list[Point], wanted: type[Point]) -> list[Any]:
        return [(type(p) is wanted, p.scaled()) for p in points]

    data = payload.dump_function(scaled)
    assert in_another_process(tmp_path, data, [Point(1), Point(2)], Point) == [(True, 3), (True, 6)]


def test_a_class_that_comes_back_still_sees_the_variables_of_its_module() -> None:
    again = payload.load_value(payload.dump_value([Point(5)]))[0]
    globals()["FACTOR"] = 10
    try:
        assert again.scaled() == 50
        assert Point(1).scaled() == 10
        assert Point.scaled.__globals__ is globals()
    finally:
        globals()["FACTOR"] = 3


def test_other_users_of_cloudpickle_keep_their_choice_of_modules() -> None:
    before = cloudpickle.list_registry_pickle_by_value()
    payload.dump_function(times)
    assert cloudpickle.list_registry_pickle_by_value() == before


def test_placeholders_are_replaced_wherever_they_are() -> None:
    def refer(value: object) -> Reference | None:
        if isinstance(value, Handle):
            return Need(value.number) if value.number < 10 else Stored("ab" * 32)
        return None

    data = payload.dump_arguments(
        [Handle(2), {"deep": [Handle(3)]}], {"big": Handle(10), "plain": 7}, refer
    )
    arguments, keywords = payload.load_arguments(data, lambda reference: ("value", reference))
    assert arguments == (("value", Need(2)), {"deep": [("value", Need(3))]})
    assert keywords == {"big": ("value", Stored("ab" * 32)), "plain": 7}


def test_plain_arguments_do_not_import_cloudpickle() -> None:
    script = """if True:
        import sys
        from mrcore.calls import payload
        payload.dump_arguments([1, "a", [2.5, None], {"b": (True, b"")}], {"c": 3})
        payload.dump_value(7)
        assert "cloudpickle" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize(
    "value", [None, 3, "x", [1, [2]], {"a": (1, 2)}, {1, 2}, np.int64(4), 1 << 80, list(range(99))]
)
def test_values_keep_their_type(value: object) -> None:
    again = payload.load_value(payload.dump_value(value))
    assert again == value
    assert type(again) is type(value)


# What cannot be pickled.


def test_the_variable_of_a_closure_that_cannot_be_pickled_is_named() -> None:
    lock = threading.Lock()

    def inner() -> object:
        return lock

    def work() -> object:
        return inner()

    with pytest.raises(PicklingError) as caught:
        payload.dump_function(work)
    assert str(caught.value) == (
        "The function work cannot be sent to a worker, since the variable lock in the closure of "
        "inner, in the variable inner in the closure of work (an object of the type _thread.lock) "
        "cannot be pickled (TypeError: cannot pickle '_thread.lock' object). Open files, locks and "
        "connections inside the function."
    )


def uses_lock() -> object:
    with LOCK:
        return [name for name in ("a", "b") if LOCK]


def test_a_global_variable_that_cannot_be_pickled_is_named() -> None:
    with pytest.raises(PicklingError, match="the global variable LOCK, which uses_lock uses"):
        payload.dump_function(uses_lock)


def test_what_a_method_a_partial_or_an_object_holds_is_named() -> None:
    point = Point(1)
    point.lock = threading.Lock()  # type: ignore[attr-defined]
    with pytest.raises(PicklingError, match="the attribute lock of an object of the type Point"):
        payload.dump_function(point.scaled)
    partial = functools.partial(times, threading.Lock())  # type: ignore[arg-type]
    with pytest.raises(PicklingError, match=r"function times .* argument 0 of the partial"):
        payload.dump_function(partial)


class Refuses:
    """An object that says itself that it does not travel."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("it stays here")


def test_an_object_that_refuses_to_travel_is_named_and_not_what_it_holds() -> None:
    refuses = Refuses()

    def work() -> object:
        return refuses

    with pytest.raises(PicklingError) as caught:
        payload.dump_function(work)
    assert (
        "the variable refuses in the closure of work (an object of the type "
        f"{Refuses.__module__}.Refuses) cannot be pickled (TypeError: it stays here)"
    ) in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "keywords", "said"),
    [
        ((1, threading.Lock()), {}, "The argument 2 of the call cannot be sent to a worker (Type"),
        ((), {"log": {"a": [1, LOCK]}}, "argument log of the call cannot be sent"),
        (({"a": LOCK},), {}, "since the value of the key 'a' (an object of the type _thread.lock)"),
    ],
)  # fmt: skip
def test_the_argument_that_cannot_be_pickled_is_named(
    arguments: Sequence[Any], keywords: dict[str, Any], said: str
) -> None:
    with pytest.raises(PicklingError) as caught:
        payload.dump_arguments(arguments, keywords)
    assert said in str(caught.value)
    if not keywords:
        with pytest.raises(PicklingError) as caught:
            payload.dump_items([(1,), arguments])
        assert said.replace("of the call", "of the call for item 1") in str(caught.value)


def test_a_result_that_cannot_be_pickled_is_named() -> None:
    assert payload.dump_value((1,), "work")
    with pytest.raises(PicklingError, match=r"^The result of work cannot be sent to another"):
        payload.dump_value((n for n in [1]), "work")
    with pytest.raises(PicklingError, match=r"since item 1 of a tuple \(.*generator\)"):
        payload.dump_value((1, (n for n in [1])), "work")


def test_what_is_not_callable_is_refused() -> None:
    with pytest.raises(PicklingError, match=r"int cannot be called\. Give a function\."):
        payload.dump_function(3)  # type: ignore[arg-type]


def test_the_item_of_data_that_cannot_be_pickled_is_named() -> None:
    payload.check_data([1, {"a": 2}])
    with pytest.raises(
        PicklingError, match=r"^Item 1 of the data .* since the value of the key 'a'"
    ):
        payload.check_data([1, {"a": LOCK}])


def test_a_recursive_structure_ends_the_search() -> None:
    loop: list[Any] = [LOCK]
    loop.append(loop)
    with pytest.raises(PicklingError, match="item 0 of a list"):
        payload.dump_value(loop)


# Outcomes of items.


def test_one_value_that_cannot_be_pickled_costs_its_item_only() -> None:
    failed = payload.ItemFailure("it raised", "Traceback …", b"\x80")
    outcomes = payload.Outcomes([1, None, LOCK, Point(4)], {1: failed})
    again = payload.load_outcomes(payload.dump_outcomes(outcomes, "work"))
    assert again.values[0] == 1
    assert again.values[3].x == 4
    assert again.failures[1] == failed
    assert again.failures[2].message.startswith("The result of work cannot be sent")
    assert sorted(again.failures) == [1, 2]


@functools.lru_cache(maxsize=7, typed=True)
def kind_of(value: object) -> str:
    return type(value).__name__


def test_a_cache_keeps_its_size_and_begins_empty() -> None:
    kind_of(1)
    found: Any = payload.load_function(payload.dump_function(kind_of))
    assert found.cache_parameters() == {"maxsize": 7, "typed": True}
    assert found.cache_info().currsize == 0
    assert (found(1), found(1.0)) == ("int", "float")


def test_modules_stay_registered_while_any_thread_pickles() -> None:
    class Inner:
        def __reduce__(self) -> tuple[Any, ...]:
            # Another thread would do this while the outer pickle goes on.
            return payload.load_function, (payload.dump_function(times),)

    before = cloudpickle.list_registry_pickle_by_value()
    data = payload.dump_value([Inner(), Point])
    assert __name__.encode() in data
    assert b"scaled" in data, "the class travels by value"
    assert cloudpickle.list_registry_pickle_by_value() == before
