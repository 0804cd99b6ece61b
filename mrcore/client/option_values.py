"""Values of job options from Python's objects: keywords of `mrcore.run`, and what plugins state."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mrcore.errors import UsageError
from mrcore.model import option_rules
from mrcore.model.columns import Columns, columns_of
from mrcore.model.job_options import Option
from mrcore.model.option_kinds import (
    Bytes,
    Choice,
    ColumnNames,
    ColumnTypes,
    Files,
    Flag,
    Folder,
    Jobs,
    Named,
    Needs,
    Params,
    Seconds,
    Share,
    Whole,
)
from mrcore.model.resources import resources_of
from mrcore.util.texts import printable, text_of


def value_of(option: Option, value: object) -> Any:
    """Return the value of an option; raise UsageError for one of a wrong type."""
    if value is None and option.default is None:
        return None
    match option.kind:
        case Whole(zero=zero):
            return 0 if zero and value == zero else count(option.name, value)
        case Seconds() | Bytes() | Share():
            return _quantity(option, value)
        case Choice(members):
            return members(_one_of(option.name, value, list(members)))
        case Named(table):
            return _one_of(option.name, value, table.names())
        case Flag(sets):
            if not isinstance(value, bool):
                raise wrong(option.name, value, "True or False")
            return sets if value else not sets
        case Params() | ColumnTypes() | ColumnNames() | Needs():
            return _names(option, value)
        case Folder():
            return path_text(option.name, value)
        case Files():
            return paths(option.name, value)
        case Jobs():
            return _job_ids(option.name, value)


def _one_of(name: str, value: object, names: Sequence[str]) -> str:
    """Return the value; raise UsageError unless it is one of the names."""
    if not isinstance(value, str) or value not in names:
        raise wrong(name, value, f"one of {', '.join(names)}")
    return value


def wrong(name: str, value: object, wanted: str) -> UsageError:
    """Return the error for a value of a wrong type."""
    return UsageError(f"{name} is {printable(text_of(value, repr), 100)}, but has to be {wanted}.")


def path_text(name: str, value: object, wanted: str = "a path or URI") -> str:
    """Return a path as text; raise UsageError for a value of another type."""
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        if isinstance(text, str):
            return text
    raise wrong(name, value, wanted)


def count(name: str, value: object) -> int:
    """Return a whole number; raise UsageError for a value of another type."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(name, value, "a whole number")
    return value


def paths(name: str, given: object) -> tuple[str, ...]:
    """Return one path or many as texts."""
    if isinstance(given, str | os.PathLike):
        return (path_text(name, given),)
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise wrong(name, given, "a path or URI, or a list of them")
    return tuple(path_text(f"{name}[{n}]", path) for n, path in enumerate(given))


def _job_ids(name: str, given: object) -> tuple[str, ...]:
    """Return the ids of one job or several, each once."""
    jobs: Iterable[object] = (given,)
    if isinstance(given, Mapping):  # its keys would count, and not its jobs
        raise wrong(name, given, "a job id or a Result, or a list of them")
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        jobs = given
    ids = []
    for job in jobs:
        job_id = getattr(job, "job_id", job)
        if not isinstance(job_id, str):
            raise wrong(name, job, "a job id or a Result, or a list of them")
        ids.append(job_id)
    return tuple(dict.fromkeys(ids))


def _names(option: Option, given: object) -> Any:
    """Return the value of an option that names parameters, columns or resources."""
    match option.kind:
        case Needs():
            return resources_of(given)
        case Params():
            return _params(option.name, given)
        case ColumnTypes():
            return _columns(option.name, given)
        case _:
            names = [given] if isinstance(given, str) else given
            if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
                raise wrong(option.name, given, "the name of a column, or a list of names")
            return tuple(names)


def _columns(name: str, given: object) -> Columns:
    try:
        return columns_of(given)
    except ValueError as error:
        raise UsageError(f"The {name} {error}.") from None


def _params(name: str, given: object) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise wrong(name, given, "a dict of texts")
    try:
        return {str(name): str(value) for name, value in given.items()}
    except Exception:  # noqa: BLE001 - `str` of whatever was given
        raise wrong(name, given, "a dict of texts") from None


def _quantity(option: Option, value: object) -> float | str:
    """Return seconds, bytes or a share, given as a number or as a text with a unit."""
    is_share = isinstance(option.kind, Share)
    if isinstance(value, str) and ("%" in value or not is_share):
        try:
            quantity: float | str = option_rules.parse(option.kind, value)
        except ValueError as error:
            raise UsageError(f"{option.name}: {error}.") from None
        return quantity
    if is_share:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong(option.name, value, 'a whole number, or a share such as "1%"')
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        unit, example = ("bytes", "256MiB") if option.kind == Bytes() else ("seconds", "30s")
        raise wrong(option.name, value, f'a number of {unit}, or a text such as "{example}"')
    return int(value) if isinstance(option.kind, Bytes) else float(value)
