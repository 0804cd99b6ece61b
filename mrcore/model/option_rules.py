"""Rules for the values of job options: from text, as text, and which are in bounds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mrcore.errors import UsageError
from mrcore.model.columns import COLUMN_TYPES, MAX_COLUMN_NAME, Columns, columns_of
from mrcore.model.ids import is_job_id
from mrcore.model.option_kinds import (
    Bytes,
    Choice,
    ColumnNames,
    ColumnTypes,
    Jobs,
    Kind,
    Needs,
    Params,
    Seconds,
    Share,
    Whole,
)
from mrcore.model.resources import parse_resources, show_resources
from mrcore.model.skipping import share_of
from mrcore.util.texts import printable
from mrcore.util.units import parse_duration, parse_size


def parse(kind: Kind, text: str) -> Any:
    """Return the value that a text stands for; raise ValueError with what is wrong with it."""
    match kind:
        case Whole() | Share():
            return _parse_number(kind, text)
        case Seconds():
            return parse_duration(text)
        case Bytes():
            return parse_size(text)
        case Choice(members):
            return members(text)
        case Needs():
            return parse_resources(text)
        case Params():
            key, equals, value = text.partition("=")
            if not equals or not key:
                raise ValueError(f"{text!r} is not of the form KEY=VALUE")
            return key, value
        case ColumnTypes():
            name, _, column_type = text.rpartition("=")
            if not name or column_type not in COLUMN_TYPES:
                raise ValueError(
                    f"{text!r} is not of the form NAME=TYPE. Types are {', '.join(COLUMN_TYPES)}"
                )
            return name, column_type
        case _:
            return text


def _parse_number(kind: Whole | Share, text: str) -> int | str:
    """Return a number or a share; raise ValueError."""
    is_number = re.fullmatch(r"-?[0-9]{1,18}", text) is not None
    if isinstance(kind, Share):
        share = share_of(text)
        if share is not None:
            return share
        if is_number and 0 <= int(text) <= kind.high:
            return int(text)
        bounds = f"a number from 0 to {kind.high} nor a share from 0% to 100%"
        raise ValueError(f"{text!r} is neither {bounds}")
    if kind.zero and text == kind.zero:
        return 0
    least = max(kind.low, 1) if kind.zero else kind.low
    if not is_number or not least <= int(text) <= kind.high:
        choice = f"neither `{kind.zero}` nor" if kind.zero else "not"
        raise ValueError(f"{text!r} is {choice} a number from {least} to {kind.high}")
    return int(text)


def show(kind: Kind, value: Any) -> str:
    """Write a value as it could be typed."""
    match kind:
        case Seconds():
            return f"{value:g}s"
        case Choice():
            return str(value.value)
        case Needs():
            return show_resources(value)
        case _:
            return str(value)


def check(kind: Kind, value: Any, name: str) -> None:
    """Raise UsageError for a value out of bounds; `name` is how the sentence calls the option."""
    match kind:
        case Jobs(most):
            if len(value) > most:
                raise UsageError(f"{_capital(name)} has {len(value):,} jobs. Name at most {most}.")
            for job_id in value:
                if not is_job_id(job_id):
                    raise UsageError(
                        f"{_capital(name)}: {printable(job_id, 80)!r} is not a job id. `mrcore "
                        "jobs` lists the ids."
                    )
        case ColumnTypes():
            check_columns(value, name)
        case ColumnNames(most):
            _check_names(value, name, most)
        case Share(high) if isinstance(value, str):
            if share_of(value) is None:
                raise UsageError(
                    f"{_capital(name)} is {printable(value, 80)!r}. Give a number up to {high:,}, "
                    "or a share from 0% to 100%."
                )
        case Share(high):
            _check_bounds(name, value, 0, high, "", above=False)
        case Whole(low, high) | Bytes(low, high):
            unit = " bytes" if isinstance(kind, Bytes) else ""
            _check_bounds(name, value, low, high, unit, above=False)
        case Seconds(low, high, above) if value is not None:
            _check_bounds(name, value, low, high, " s", above=above)
        case _:
            pass


def check_columns(columns: Columns, name: str) -> None:
    """Raise UsageError for columns that cannot be."""
    if not columns:
        return
    try:
        columns_of(dict(columns))
    except ValueError as error:
        raise UsageError(f"{_capital(name)} {error}.") from None
    if len(dict(columns)) < len(columns):
        raise UsageError(f"{_capital(name)} name a column twice. Leave one out.")


def check_cut(map_tasks: int, records_per_task: int) -> None:
    """Raise UsageError for two ways to cut the input."""
    if map_tasks and records_per_task:
        raise UsageError(
            "--map-tasks and --records-per-task each say how the input is cut. Drop one of them."
        )


def _check_names(names: Sequence[str], name: str, most: int) -> None:
    if len(names) > most:
        raise UsageError(f"{_capital(name)} are {len(names):,}. Name at most {most}.")
    for each in names:
        if not 0 < len(each) <= MAX_COLUMN_NAME or each[0] in "_.":
            raise UsageError(
                f"{_capital(name)}: {printable(each, 80)!r} cannot begin the name of a folder, "
                "which readers would skip. Use a name that begins with neither `_` nor `.`."
            )
    if len(set(names)) < len(names):
        raise UsageError(f"{_capital(name)} name a column twice. Leave one out.")


def _check_bounds(
    name: str, value: float, low: float, high: float, unit: str, *, above: bool
) -> None:
    if above and not value > low:
        bound = f"more than {low:,.15g}"
    elif not value >= low:
        bound = f"at least {low:,.15g}"
    elif not value <= high:
        bound = f"at most {high:,.15g}"
    else:
        return
    number = f"{value:,}" if isinstance(value, int) else f"{value:,g}"
    raise UsageError(f"{_capital(name)} is {number}{unit}, but must be {bound}{unit}.")


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]
