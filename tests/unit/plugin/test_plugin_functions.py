"""The table of plugin functions, and what is made of it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import pytest

from mrcore.errors import PluginError, UsageError
from mrcore.model.stages import MAX_STAGES
from mrcore.plugin.checks import check_functions
from mrcore.plugin.functions import (
    FINISHERS,
    FUNCTIONS,
    MAX_STEPS,
    STEP_FUNCTIONS,
    UserFunctions,
    shape,
)
from mrcore.plugin.running import CALL, NOTED
from mrcore.plugin.steps import Step
from tests.support.repository import ROOT


def take_anything(*arguments: object) -> None:
    """Stand for any function."""


def test_the_documents_have_a_row_for_each_function() -> None:
    page = (ROOT / "docs" / "jobs.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+\([\w, ]+\))` \| (.+?) \|$", page, re.MULTILINE))
    for name, role in FUNCTIONS.items():
        assert rows[shape(name)].startswith(role.help), name


def test_each_function_is_loaded_noted_and_wrapped() -> None:
    found = {name: take_anything for name in FUNCTIONS if name != "sort_key"}
    functions = check_functions(found, name="job.py")
    assert {**functions.steps[0], **functions.shared} == found
    wrapped = functions.wrapped(lambda function: print)
    assert {*wrapped.steps[0].values(), *wrapped.shared.values()} == {print}
    assert set(NOTED) == {"", *FUNCTIONS, CALL}


@pytest.mark.parametrize("name", STEP_FUNCTIONS)
def test_a_step_takes_each_function_of_a_step(name: str) -> None:
    assert Step(**{name: take_anything}).functions == {name: take_anything}


def test_a_step_refuses_other_names() -> None:
    with pytest.raises(UsageError, match=r"A Step has no function mapper\. Give it some of map, "):
        Step(mapper=take_anything)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"map": print, "reduce_finish": take_anything}, "job.py has reduce_finish at "),
        ({"map": print, "combine": print, "sort_key": take_anything}, "job.py has both combine"),
        ({"map_finish": take_anything}, "job.py has no function map"),
    ],
)
def test_functions_that_do_not_go_together_are_refused(
    found: dict[str, object], sentence: str
) -> None:
    with pytest.raises(PluginError) as caught:
        check_functions(found, name="job.py")
    assert str(caught.value).startswith(sentence)


STEP = Step(map=print, reduce=print)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            {"steps": 3},
            "steps in job.py is not a list but an int. Write steps = [Step(map=…, reduce=…), …], "
            "or rename it.",
        ),
        ({"steps": []}, "steps in job.py is empty. Write [Step(map=…, reduce=…), …]."),
        (
            {"steps": [STEP, {"map": print}]},
            "Item 2 of steps in job.py is not a Step but a dict. Write `from mrcore import Step`, "
            "and Step(map=…, reduce=…).",
        ),
        (
            {"steps": [STEP, Step(combine=print)]},
            "Step 2 of job.py has neither map nor reduce. Give it one of them, or remove the step.",
        ),
        (
            {"steps": [STEP], "reduce": print},
            "job.py has both steps and a function reduce. Rename the function, and hand it to a "
            "step as Step(reduce=…).",
        ),
        (
            {"steps": [Step(map=print, combine=print), STEP]},
            "Step 1 of job.py has combine but no reduce, so its pairs go straight to step 2. Give "
            "the step a reduce, or remove combine.",
        ),
        (
            {"steps": [Step(reduce=print, map_finish=print)]},
            "Step 1 of job.py has map_finish but no map. Define map(key, value), or remove "
            "map_finish.",
        ),
        (
            {"steps": [Step(map=3)]},  # type: ignore[arg-type]
            "map in Step 1 of job.py is not a function but an int",
        ),
        ({"steps": [STEP] * 1000}, "steps in job.py has 1,000 items, and 999 is the limit."),
    ],
)
def test_steps_that_cannot_work_get_a_sentence(found: dict[str, object], sentence: str) -> None:
    with pytest.raises(PluginError) as caught:
        check_functions(found, name="job.py")
    assert str(caught.value).startswith(sentence)


def test_as_many_steps_are_taken_as_a_job_may_have_stages() -> None:
    assert MAX_STEPS == MAX_STAGES - 1
    functions = check_functions({"steps": (STEP, STEP), "setup": print}, name="job.py")
    assert functions.steps == ({"map": print, "reduce": print},) * 2
    assert functions.shared == {"setup": print}


def test_only_finish_functions_keep_state() -> None:
    assert not UserFunctions(map=print, reduce=print).keeps_state
    assert UserFunctions(map=print, map_finish=print).keeps_state
    assert UserFunctions(map=print, reduce=print, reduce_finish=print).keeps_state
    assert UserFunctions(steps=[{"map": print}, {"map": print, "map_finish": print}]).keeps_state


def yields_a_number(context: Any) -> Any:
    yield "a", 1
    yield 3


def yields_three(context: Any) -> Any:
    yield context, 1, 2


def yields_one(context: Any) -> Any:
    yield (context,)


def returns_text(context: Any) -> Any:
    return "ab"


MISTAKES: list[tuple[Callable[..., Any], str, int]] = [
    (yields_a_number, "yields 3", 2),
    (yields_three, "yields a tuple of 3", 1),
    (yields_one, "yields a tuple of 1", 1),
    (returns_text, "returns 'ab'", 1),
]


@pytest.mark.parametrize(("function", "emits", "below"), MISTAKES)
@pytest.mark.parametrize("key", FINISHERS)
def test_a_finish_function_that_is_sure_to_yield_no_pair_is_refused(
    key: str, function: Callable[..., Any], emits: str, below: int
) -> None:
    line = function.__code__.co_firstlineno + below
    step: dict[str, Any] = {"map": print, "reduce": print, key: function}
    for found in (step, {"steps": [Step(**step)]}):
        with pytest.raises(PluginError) as caught:
            check_functions(found, name="job.py")
        sentence = f":{line} {emits}, which is not a pair. Write `yield key, value`."
        assert str(caught.value).startswith(f"{key} at ")
        assert str(caught.value).endswith(sentence)


def yields_pairs(context: Any) -> Any:
    yield "a", 1
    yield context, 1
    yield [context, 1, 2]
    yield {"a": 1}
    yield from ((1, 2), context)
    if context:
        yield


def calls_back(context: Any) -> None:
    context("a", 1, 2)


def wrapped(context: Any) -> Any:
    return ((value, 1) for value in yields_a_number(context))


functools.update_wrapper(wrapped, yields_a_number)


@pytest.mark.parametrize(
    "function", [yields_pairs, calls_back, wrapped, lambda _: (), lambda _: [3], lambda c: c, print]
)
def test_a_finish_function_that_may_emit_pairs_is_taken(function: Callable[..., Any]) -> None:
    check_functions({"map": print, "map_finish": function}, name="job.py")
