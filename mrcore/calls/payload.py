"""Functions, arguments and values of calls as bytes."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from mrcore.calls.pickling import dumps, loads
from mrcore.calls.references import Refer, Resolve
from mrcore.errors import PicklingError, UsageError
from mrcore.plugin.culprit import find_culprit, name_of

_MODULES: Final = b"mrcore-modules:"
"""Beginning of a function that needs modules, which no pickle has; then comes their SHA-256."""
_OPEN_IT_THERE: Final = "Open files, locks and connections inside the function."


class ItemFailure(msgspec.Struct, frozen=True):
    """Failure of one item of a call with `each`."""

    message: str
    traceback: str = ""
    exception: bytes = b""
    """Pickled exception (`mrcore.calls.exceptions`); empty where it cannot travel."""


class Outcomes(msgspec.Struct, frozen=True):
    """Results of the items of a call with `each`."""

    values: list[Any]
    """Values in the order of the items, with None for those that failed."""
    failures: dict[int, ItemFailure] = {}
    """Failures by the number of the item."""


def dump_function(
    function: Callable[..., Any], made: list[types.FunctionType] | None = None
) -> bytes:
    """Pickle a function or another callable; raise PicklingError that names the object at fault.

    `made` gets the functions that travel by value, whose imports may have to travel, too.
    """
    if not callable(function):
        raise PicklingError(f"{name_of(function)} cannot be called. Give a function.")
    try:
        return dumps(function, None, made)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - __reduce__ of the user's objects runs here
        place, problem = find_culprit(function, dumps)
        what = f"{place} cannot be pickled" if place else "it cannot be pickled"
        raise PicklingError(
            f"The function {name_of(function)} cannot be sent to a worker, since {what} "
            f"({problem}). {_OPEN_IT_THERE}"
        ) from None


def with_modules(function: bytes, sha256: str) -> bytes:
    """Return the bytes of a function that imports the modules of a stored bundle."""
    return _MODULES + sha256.encode() + function


def modules_of(function: bytes) -> str:
    """Return the SHA-256 of the bundle with the modules that a function imports, or nothing."""
    start = len(_MODULES)
    return function[start : start + 64].decode() if function.startswith(_MODULES) else ""


def load_function(data: bytes) -> Callable[..., Any]:
    """Return a function that `dump_function` has pickled; raise what loading raises."""
    start = len(_MODULES) + 64 if data.startswith(_MODULES) else 0
    function: Callable[..., Any] = loads(data[start:])
    return function


def dump_arguments(
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
    refer: Refer | None = None,
    made: list[types.FunctionType] | None = None,
    *,
    what: str = "the call",
) -> bytes:
    """Pickle the arguments of a call; raise PicklingError that names the one at fault.

    Objects that `refer` has a placeholder for are replaced by it, wherever they are within the
    arguments. A placeholder itself stays what it is. A UsageError of `refer` is raised as it is.
    `made` is that of `dump_function`.
    """
    given = (tuple(arguments), dict(keywords))
    try:
        return dumps(given, refer, made)
    except (KeyboardInterrupt, UsageError):
        raise
    except BaseException:  # noqa: BLE001 - __reduce__ of the user's objects runs here
        raise PicklingError(_argument_problem(what, *given, refer)) from None


def _argument_problem(
    what: str, arguments: tuple[Any, ...], keywords: dict[str, Any], refer: Refer | None
) -> str:
    named: list[tuple[str, Any]] = [(f"{at + 1}", each) for at, each in enumerate(arguments)]
    for name, argument in [*named, *keywords.items()]:
        message = _problem_of(f"The argument {name} of {what}", argument, refer)
        if message:
            return message
    return f"The arguments of {what} cannot be sent to a worker. Give fewer or simpler ones."


def _problem_of(what: str, value: object, refer: Refer | None = None) -> str:
    """Return why a value cannot travel, and the object in it at fault; empty where it can."""
    place, problem = find_culprit(value, lambda part: dumps(part, refer))
    if not problem:
        return ""
    inside = f", since {place} cannot be pickled" if place else ""
    return (
        f"{what} cannot be sent to a worker{inside} ({problem}). Give data, and open files and "
        "connections inside the function."
    )


def check_data(items: Sequence[Any]) -> None:
    """Raise PicklingError that names the first of the items that cannot travel."""
    for at, item in enumerate(items):
        message = _problem_of(f"Item {at} of the data", item)
        if message:
            raise PicklingError(message)


def dump_items(
    items: Sequence[Sequence[Any]],
    refer: Refer | None = None,
    made: list[types.FunctionType] | None = None,
    keywords: Mapping[str, Any] | None = None,
    first: int = 0,
) -> bytes:
    """Pickle the items of a call with `each`: for each of them the arguments of one call.

    `keywords` go to all of them. `made` is that of `dump_function`. Raises PicklingError that names
    the item at fault; `first` is the number of the first one.
    """
    try:
        return dumps((list(items), dict(keywords or {})), refer, made)
    except (KeyboardInterrupt, UsageError):
        raise
    except BaseException:  # noqa: BLE001 - __reduce__ of the user's objects runs here
        for at, item in enumerate(items, first):
            dump_arguments(item, keywords or {}, refer, what=f"the call for item {at}")
        raise PicklingError(
            "The arguments of the calls cannot be sent to a worker together. Use chunksize=1."
        ) from None


def load_arguments(data: bytes, resolve: Resolve) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return what `dump_arguments` or `dump_items` has pickled, with values for placeholders.

    Raises what loading raises.
    """
    arguments, keywords = loads(data, resolve)
    return arguments, keywords


def dump_value(value: object, function: str = "") -> bytes:
    """Pickle a value, such as the result of the function of this name; raise PicklingError."""
    try:
        return dumps(value)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - __reduce__ of the user's objects runs here
        place, problem = find_culprit(value, dumps)
        inside = f", since {place} cannot be pickled" if place else ""
        what = f"The result of {function}" if function else f"The value ({type(value).__name__})"
        raise PicklingError(
            f"{what} cannot be sent to another process{inside} ({problem}). "
            f"{'Return' if function else 'Give'} data, such as numbers, text, lists or arrays."
        ) from None


def load_value(data: bytes) -> Any:
    """Return a value that `dump_value` has pickled; raise what loading raises."""
    return loads(data)


def dump_outcomes(outcomes: Outcomes, function: str = "") -> bytes:
    """Pickle what items have left; a value that cannot be pickled becomes that item's failure."""
    failures = {at: msgspec.structs.astuple(each) for at, each in outcomes.failures.items()}
    try:
        return dumps((outcomes.values, failures))
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - __reduce__ of the user's objects runs here
        values: list[Any] = []
        for at, value in enumerate(outcomes.values):
            try:
                dump_value(value, function)
                values.append(value)
            except PicklingError as error:
                values.append(None)
                failures[at] = (str(error), "", b"")
        return dumps((values, failures))


def load_outcomes(data: bytes) -> Outcomes:
    """Return what `dump_outcomes` has pickled; raise what loading raises."""
    values, failures = loads(data)
    return Outcomes(values, {at: ItemFailure(*each) for at, each in failures.items()})
