"""Search for the object that keeps a function or a value from being pickled.

Only parts that fail alone are entered, so the search ends at the object that is at fault, with the
way that leads to it.
"""

from __future__ import annotations

import functools
import pickle
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from mrcore.plugin.tracebacks import last_line
from mrcore.util.texts import text_of

_MAX_DEPTH: Final = 20
_MAX_TRIES: Final = 2_000
"""Objects that are pickled on trial."""
_MAX_STEPS: Final = 4
"""Steps of the way that are shown: the last ones."""

Dump = Callable[[object], bytes]


def find_culprit(value: object, dump: Dump) -> tuple[str, str]:
    """Return where in `value` the object at fault is, and its error, as in `TypeError: no`.

    The place reads as in `the variable lock in the closure of work, a lock`; it is empty where
    `value` itself is at fault, or an object of mrcore holds what is.
    """
    return _Search(dump).run(value)


class _Search:
    def __init__(self, dump: Dump) -> None:
        self._dump = dump
        self._tries = 0

    def run(self, value: object) -> tuple[str, str]:
        way: list[str] = []
        seen = {id(value)}
        problem = self._problem(value) or ""
        while len(way) < _MAX_DEPTH:
            for place, part in _parts(value):
                found = None if id(part) in seen else self._problem(part)
                if found is not None:
                    if _is_ours(value):  # how we hold the user's functions is of no interest
                        way.clear()
                    else:
                        way.append(place)
                    seen.add(id(part))
                    value, problem = part, found
                    break
            else:
                break
        if not way:
            return "", problem
        shown = ", in ".join(reversed(way[-_MAX_STEPS:]))
        return f"{shown} ({_kind(value)})", problem

    def _problem(self, value: object) -> str | None:
        """Return why a value cannot be pickled; None where it can, or there were enough tries."""
        self._tries += 1
        if self._tries > _MAX_TRIES:
            return None
        try:
            self._dump(value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - methods of the user's objects run here
            return last_line(error)
        return None


def name_of(function: object) -> str:
    """Return the name of a function or any other callable, for messages."""
    if isinstance(function, functools.partial):
        return name_of(function.func)
    name = getattr(function, "__qualname__", None)
    if not isinstance(name, str):
        name = type(function).__qualname__
    return text_of(name.rpartition("<locals>.")[2])


def name_with_place(function: types.FunctionType) -> str:
    """Return the name of a function; a lambda has the place of its source in place of one."""
    name = name_of(function)
    if name != "<lambda>":
        return name
    code = function.__code__
    return f"the lambda at {text_of(code.co_filename).rpartition('/')[2]}:{code.co_firstlineno}"


def _is_ours(value: object) -> bool:
    return (getattr(type(value), "__module__", None) or "").startswith("mrcore.")


def _kind(value: object) -> str:
    kind = type(value)
    module = getattr(kind, "__module__", "")
    name = (
        kind.__qualname__ if module in ("builtins", "__main__") else f"{module}.{kind.__qualname__}"
    )
    return f"an object of the type {name}"


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """Yield the parts that a pickle of `value` holds, each with its place in words."""
    if isinstance(value, types.FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, types.MethodType):
        yield f"the object of the method {name_of(value)}", value.__self__
        yield f"the method {name_of(value)}", value.__func__
    elif isinstance(value, functools.partial):
        yield "the function of the partial", value.func
        yield from ((f"argument {at} of the partial", each) for at, each in enumerate(value.args))
        yield from (
            (f"argument {key} of the partial", each) for key, each in value.keywords.items()
        )
    elif isinstance(value, type):
        yield from _named(f"the class {value.__qualname__}", "attribute", dict(vars(value)))
    elif isinstance(value, Mapping):
        for key, each in list(value.items()):
            yield "a key of a dict", key
            yield f"the value of the key {text_of(key, repr)[:40]}", each
    elif isinstance(value, list | tuple | set | frozenset):
        for at, each in enumerate(value):
            yield f"item {at} of a {type(value).__name__}", each
    else:
        yield from _parts_of_object(value)


def _parts_of_object(value: object) -> Iterator[tuple[str, object]]:
    try:
        value.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 - a method of the user's object; it refuses by itself
        return
    holder = f"an object of the type {type(value).__qualname__}"
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        yield from _named(holder, "attribute", attributes)
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else tuple(slots):
            if isinstance(slot, str) and hasattr(value, slot):
                yield f"the attribute {slot} of {holder}", getattr(value, slot)


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    name = name_with_place(function)
    for variable, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=False
    ):
        try:
            content = cell.cell_contents
        except ValueError:  # it was never set
            continue
        yield f"the variable {variable} in the closure of {name}", content
    variables = function.__globals__
    for variable in dict.fromkeys(_names_in(function.__code__)):
        if variable in variables:
            yield f"the global variable {variable}, which {name} uses", variables[variable]
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for default in defaults:
        yield f"a default argument of {name}", default
    yield from _named(f"the function {name}", "attribute", dict(vars(function)))


def _names_in(code: types.CodeType) -> Iterator[str]:
    """Yield the names of global variables (and attributes) in a function and those within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _named(holder: str, what: str, parts: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, part in list(parts.items()):
        yield f"the {what} {name} of {holder}", part
