"""Checks of what a plugin has under the names of its functions."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from mrcore.errors import PluginError
from mrcore.plugin import importing
from mrcore.plugin.emissions import sure_mistake
from mrcore.plugin.functions import (
    FINISHERS,
    FUNCTIONS,
    GRAPH,
    INPUTS,
    MAX_GROUPS,
    MAX_STEPS,
    OPTIONS,
    OTHER_FILES,
    STATED,
    STEP_FUNCTIONS,
    STEPS,
    GroupFunctions,
    StepFunctions,
    UserFunction,
    UserFunctions,
    plain,
    shape,
)
from mrcore.plugin.inputs import Input
from mrcore.plugin.steps import Step
from mrcore.util.texts import one_line, text_of


def check_functions(
    found: Mapping[str, object],
    *,
    name: str,
    files_folder: Path | None = None,
    user_paths: Sequence[str] = (),
) -> UserFunctions:
    """Return the functions of a plugin; raise PluginError where one is missing or cannot work."""
    checked: dict[str, Any] = {
        key: _checked(key, value, name)
        for key, value in found.items()
        if key in FUNCTIONS and value is not None
    }
    steps: list[StepFunctions] = []
    groups = _check_groups(found.get(INPUTS), name)
    if found.get(STEPS) is not None:
        _refuse_beside_steps(checked, name)
        steps = _check_steps(found[STEPS], name, chain=not found.get(GRAPH))
    elif "map" not in checked and not groups:
        raise PluginError(
            f"{name} has no function map. Define map(key, value), which yields pairs."
        )
    else:
        single = {key: checked[key] for key in STEP_FUNCTIONS if key in checked}
        _check_rules(single, name, has_map=bool(groups))
    if groups:
        groups = _with_other_files(groups, "map" in (steps[0] if steps else checked), name)
    return UserFunctions(
        steps=steps,
        groups=groups,
        stated=_stated(found),
        files_folder=files_folder,
        user_paths=user_paths,
        name=name,
        **checked,
    )


def _stated(found: Mapping[str, object]) -> dict[str, object]:
    """Return the job options that a plugin states.

    Only a dict is taken for `options` and for columns, which are common names.
    """
    options = found.get(OPTIONS)
    stated = (
        {str(name): plain(value) for name, value in options.items()}
        if (isinstance(options, Mapping))
        else {}
    )
    for name in STATED:
        value = found.get(name)
        if value is not None and ("columns" not in name or isinstance(value, Mapping)):
            stated[name] = plain(value)
    return stated


def _check_groups(given: object, name: str) -> list[GroupFunctions]:
    """Return the input groups of a plugin. Only a dict states them; `inputs` is a common name."""
    if not isinstance(given, Mapping):
        return []
    if len(given) >= MAX_GROUPS:
        raise PluginError(
            f"{INPUTS} in {name} has {len(given):,} entries, and {MAX_GROUPS:,} is the limit. "
            "Use patterns that take more files."
        )
    return [_check_group(pattern, entry, name) for pattern, entry in given.items()]


def _check_group(pattern: object, entry: object, name: str) -> GroupFunctions:
    if not isinstance(pattern, str) or not pattern:
        raise PluginError(
            f"{INPUTS} in {name} has the key {one_line(text_of(pattern, repr))}, which is not a "
            'pattern of file names. Write {"users*.csv": map_users, …}.'
        )
    if isinstance(entry, Input):
        function, input_format, columns = entry.map, entry.format, entry.columns
    else:
        function, input_format, columns = cast(UserFunction, entry), "", None
    if function is None:
        return GroupFunctions(pattern, None, input_format, columns)
    if not callable(function):
        raise PluginError(
            f"{INPUTS} in {name} has {_a(function)} for {pattern}. Give it a function map(key, "
            "value), or mrcore.Input(map, format=…)."
        )
    return GroupFunctions(pattern, _checked("map", function, name), input_format, columns)


def _with_other_files(
    groups: list[GroupFunctions], has_map: bool, name: str
) -> list[GroupFunctions]:
    """Add the group of all other files, where the plugin has a map for them."""
    if has_map:
        return [*groups, GroupFunctions(OTHER_FILES)]
    for group in groups:
        if group.map is None:
            raise PluginError(
                f"{INPUTS} in {name} has no function for {group.pattern}, and the plugin has no "
                f"map. Write Input(map, format={group.input_format!r}), or define map(key, value)."
            )
    return groups


def _refuse_beside_steps(checked: Mapping[str, UserFunction], name: str) -> None:
    for key in STEP_FUNCTIONS:
        if key in checked:
            raise PluginError(
                f"{name} has both {STEPS} and a function {key}{_where(checked[key])}. "
                f"Rename the function, and hand it to a step as Step({key}=…)."
            )


def _check_steps(given: object, name: str, *, chain: bool) -> list[StepFunctions]:
    if not isinstance(given, list | tuple):
        raise PluginError(
            f"{STEPS} in {name} is not a list but {_a(given)}. "
            f"Write {STEPS} = [Step(map=…, reduce=…), …], or rename it."
        )
    if not given:
        raise PluginError(f"{STEPS} in {name} is empty. Write [Step(map=…, reduce=…), …].")
    if len(given) > MAX_STEPS:
        raise PluginError(
            f"{STEPS} in {name} has {len(given):,} items, and {MAX_STEPS:,} is the limit. "
            "Make several jobs of it."
        )
    return [
        _check_step(number, step, len(given), name, chain) for number, step in enumerate(given, 1)
    ]


def _check_step(number: int, step: object, steps: int, name: str, chain: bool) -> StepFunctions:
    if not isinstance(step, Step):
        raise PluginError(
            f"Item {number} of {STEPS} in {name} is not a Step but {_a(step)}. "
            "Write `from mrcore import Step`, and Step(map=…, reduce=…)."
        )
    place = f"Step {number} of {name}"
    checked = {key: _checked(key, each, place) for key, each in step.functions.items()}
    if not chain:
        return cast(StepFunctions, checked)
    if "map" not in checked and "reduce" not in checked:
        raise PluginError(
            f"{place} has neither map nor reduce. Give it one of them, or remove the step."
        )
    _check_rules(checked, place)
    if number < steps and "reduce" not in checked:
        for key, function in checked.items():
            if STEP_FUNCTIONS[key].only_shuffled:
                raise PluginError(
                    f"{place} has {key}{_where(function)} but no reduce, so its pairs go "
                    f"straight to step {number + 1}. Give the step a reduce, or remove {key}."
                )
    return cast(StepFunctions, checked)


def _check_rules(checked: Mapping[str, UserFunction], place: str, *, has_map: bool = False) -> None:
    """Check functions beside each other; `has_map` means that input groups have maps."""
    for key, function in checked.items():
        role = STEP_FUNCTIONS[key]
        if role.needs and role.needs not in checked and not (has_map and role.needs == "map"):
            raise PluginError(
                f"{place} has {key}{_where(function)} but no {role.needs}. "
                f"Define {shape(role.needs)}, or remove {key}."
            )
        if role.rival in checked:
            raise PluginError(
                f"{place} has both {key} and {role.rival}{_where(checked[role.rival])}: "
                f"{role.reason}, so remove one of them."
            )


def _checked(key: str, value: object, name: str) -> UserFunction:
    arguments, wanted = FUNCTIONS[key].arguments, shape(key)
    if not callable(value):
        raise PluginError(
            f"{key} in {name} is not a function but {_a(value)}. Define {wanted} or rename it."
        )
    if value is functools.reduce:
        raise PluginError(
            f"reduce in {name} is functools.reduce: define {wanted}, or import that one under "
            "another name."
        )
    if inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value):
        raise PluginError(f"{key}{_where(value)} is async. Define it by `def`, as {wanted}.")
    try:
        signature = inspect.signature(value)
    except Exception:  # noqa: BLE001 - a builtin that does not tell its arguments, or a user's object
        return value
    try:
        signature.bind(*arguments)
    except TypeError:
        count = f"{len(arguments)} argument{'s' if len(arguments) > 1 else ''}"
        raise PluginError(
            f"{key}{_where(value)} is declared as {key}{text_of(signature)} but is called with "
            f"{count}. Define it as {wanted}."
        ) from None
    if key in FINISHERS:
        _check_emissions(key, value)
    return value


def _check_emissions(key: str, function: UserFunction) -> None:
    """Raise PluginError for what cannot be a pair, before any task runs."""
    mistake = sure_mistake(function)
    if mistake is not None:
        emits, line = mistake
        place = f"{shown_path(function.__code__.co_filename)}:{line}"
        raise PluginError(
            f"{key} at {place} {emits}, which is not a pair. Write `yield key, value`."
        )


def _a(value: object) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _where(function: object) -> str:
    """Return ` at FILE:LINE`, or nothing where that is not known."""
    plain: Any = inspect.unwrap(function) if callable(function) else function
    code = getattr(plain, "__code__", None)
    if code is None and not inspect.isclass(plain):
        code = getattr(inspect.getattr_static(type(plain), "__call__"), "__code__", None)
    if code is None:
        return ""
    return f" at {shown_path(code.co_filename)}:{code.co_firstlineno}"


def shown_path(path: str) -> str:
    """Return `path` as a person in the current folder would type it."""
    here = importing.current_folder()
    return path if here is None else path.removeprefix(here + os.sep)
