"""The keyword arguments of `mrcore.run`, checked and made a `JobRequest`.

An argument of a wrong type raises UsageError with a sentence, before anything is started.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, Unpack

from mrcore.client.request import Functions, JobRequest
from mrcore.errors import UsageError
from mrcore.model import job_options
from mrcore.model.columns import Columns, columns_of
from mrcore.model.job_options import Option
from mrcore.model.option_kinds import (
    Bytes,
    Choice,
    ColumnTypes,
    Files,
    Flag,
    Folder,
    Jobs,
    Named,
    Params,
    Seconds,
    Whole,
)
from mrcore.plugin.functions import FUNCTIONS, INPUTS, STEPS, PluginFunctions, UserFunction
from mrcore.plugin.inputs import Input
from mrcore.plugin.steps import Step
from mrcore.util.texts import nearest, printable, text_of

AnyPath: TypeAlias = str | os.PathLike[str]
JobInputs: TypeAlias = AnyPath | Sequence[AnyPath] | Mapping[AnyPath, UserFunction | Input]
"""Inputs of a job: paths and URIs, or a dict with the map function of each."""


class HasJobId(Protocol):
    """A job, such as the `Result` of `mrcore.run` or the `JobView` of a client."""

    @property
    def job_id(self) -> str:
        """Return the job's id."""
        ...


class JobOptions(PluginFunctions, total=False):
    """Keyword arguments of a job beside plugin, inputs and output.

    The functions of the plugin, and the options of the command line by their own names. Sizes and
    durations are numbers (bytes, seconds) or texts such as "256MiB" and "30s".

    Type checkers and editors read source text and run none, so the options of the table stand here
    once more, with their types. A test compares both.
    """

    steps: Sequence[Step]
    """Steps of the job, in place of the functions of a single one."""
    name: str
    """Name of a job made from functions, for display."""
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    reduces: int | Literal["auto"]
    input_format: str
    output_format: str
    compress: str
    columns: Mapping[str, str | type]
    """Types of the columns of the output's rows, in order, such as "int" or int."""
    input_columns: Mapping[str, str | type]
    """Types of the columns of csv and tsv inputs."""
    no_combine: bool
    map_only: bool
    total_order: bool
    params: Mapping[str, object]
    """Parameters for the plugin; their values reach `context.params` as texts."""
    max_attempts: int
    task_timeout: float | str
    lease: float | str
    max_bad_records: int
    memory: int | str
    temp: str | os.PathLike[str]
    overwrite: bool
    priority: int
    after: str | HasJobId | Sequence[str | HasJobId]
    """Jobs that must have succeeded first: ids, or results and other objects with a `job_id`."""


def make_request(
    plugin: str | os.PathLike[str] | None,
    inputs: JobInputs,
    output: str | os.PathLike[str],
    **options: Unpack[JobOptions],
) -> JobRequest:
    """Return the request that the arguments of a job make; raise UsageError.

    A dict of inputs has the map function, or an `Input`, of each.
    """
    values: dict[str, Any] = {**options}
    table = {option.name: option for option in job_options.JOB_OPTIONS}
    known = {*table, *FUNCTIONS, STEPS, "name"}
    unknown = set(values) - known
    if unknown:
        name = min(unknown)
        raise UsageError(f"mrcore.run knows no option {name!r}.{nearest(name, sorted(known))}")
    groups: Mapping[str, object] | None = None
    if isinstance(inputs, Mapping):
        groups = {path_text("inputs", path): entry for path, entry in inputs.items()}
    return JobRequest(
        plugin=_target(plugin, values, groups),
        inputs=_paths("inputs", inputs) if groups is None else tuple(groups),
        groups=() if groups is None else tuple(range(len(groups))),
        output=path_text("output", output),
        cwd=Path.cwd(),
        options=option_values(values),
    )


def option_values(values: Mapping[str, object]) -> dict[str, Any]:
    """Return the job options among keywords, checked; raise UsageError for one that cannot be."""
    table = job_options.JOB_OPTIONS
    return job_options.given({o.name: _value(o, values[o.name]) for o in table if o.name in values})


def _value(option: Option, value: object) -> Any:
    """Return the value of an option; raise UsageError for one of a wrong type."""
    if value is None and option.default is None:
        return None
    match option.kind:
        case Whole(zero=zero):
            return 0 if zero and value == zero else count(option.name, value)
        case Seconds() | Bytes():
            return _quantity(option, value)
        case Choice(members):
            return members(_one_of(option.name, value, list(members)))
        case Named(table):
            return _one_of(option.name, value, table.names())
        case Flag(sets):
            if not isinstance(value, bool):
                raise _wrong(option.name, value, "True or False")
            return sets if value else not sets
        case Params() | ColumnTypes():
            read = _params if isinstance(option.kind, Params) else _columns
            return read(option.name, value)
        case Folder():
            return path_text(option.name, value)
        case Files():
            return _paths(option.name, value)
        case Jobs():
            return _job_ids(option.name, value)


def _one_of(name: str, value: object, names: Sequence[str]) -> str:
    """Return the value; raise UsageError unless it is one of the names."""
    if not isinstance(value, str) or value not in names:
        raise _wrong(name, value, f"one of {', '.join(names)}")
    return value


def _target(
    plugin: str | os.PathLike[str] | None,
    options: Mapping[str, Any],
    groups: Mapping[str, object] | None,
) -> str | Functions:
    names = (*FUNCTIONS, STEPS)
    given = {name: options[name] for name in names if options.get(name) is not None}
    if groups is not None:
        given[INPUTS] = groups
    if plugin is not None and not given and not callable(plugin):
        return path_text(
            "plugin", plugin, "a path, a module or module:object; give functions as map="
        )
    if plugin is not None or not {"map", STEPS, INPUTS} & given.keys():
        raise UsageError(
            "mrcore.run needs one of plugin=PATH, map=FUNCTION and steps=[Step(…), …], and no two "
            "of them."
        )
    for name, function in given.items():
        if name not in (STEPS, INPUTS) and not callable(function):
            raise _wrong(name, function, "a function")
    name = options.get("name", "session")
    if not isinstance(name, str):
        raise _wrong("name", name, "a text")
    return Functions(given=given, name=name)


def _wrong(name: str, value: object, wanted: str) -> UsageError:
    return UsageError(f"{name} is {printable(text_of(value, repr), 100)}, but has to be {wanted}.")


def path_text(name: str, value: object, wanted: str = "a path or URI") -> str:
    """Return a path as text; raise UsageError for a value of another type."""
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        if isinstance(text, str):
            return text
    raise _wrong(name, value, wanted)


def count(name: str, value: object) -> int:
    """Return a whole number; raise UsageError for a value of another type."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(name, value, "a whole number")
    return value


def cluster_names(
    master: object, state: object = None, credentials: object = None
) -> tuple[str | None, str | None, str | None]:
    """Return what names a cluster as texts; raise UsageError for values of another type."""
    address = 'an address, as "HOST:PORT"'
    return (
        None if master is None else path_text("master", master, address),
        None if state is None else path_text("state", state),
        None if credentials is None else path_text("credentials", credentials, "a file"),
    )


def _paths(name: str, given: object) -> tuple[str, ...]:
    """Return one path or many as texts."""
    if isinstance(given, str | os.PathLike):
        return (path_text(name, given),)
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise _wrong(name, given, "a path or URI, or a list of them")
    return tuple(path_text(f"{name}[{n}]", path) for n, path in enumerate(given))


def _job_ids(name: str, given: object) -> tuple[str, ...]:
    """Return the ids of one job or several, each once."""
    jobs: Iterable[object] = (given,)
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        jobs = given
    ids = []
    for job in jobs:
        job_id = getattr(job, "job_id", job)
        if not isinstance(job_id, str):
            raise _wrong(name, job, "a job id or a Result, or a list of them")
        ids.append(job_id)
    return tuple(dict.fromkeys(ids))


def _columns(name: str, given: object) -> Columns:
    try:
        return columns_of(given)
    except ValueError as error:
        raise UsageError(f"The {name} {error}.") from None


def _params(name: str, given: object) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise _wrong(name, given, "a dict of texts")
    try:
        return {str(name): str(value) for name, value in given.items()}
    except Exception:  # noqa: BLE001 - `str` of whatever was given
        raise _wrong(name, given, "a dict of texts") from None


def _quantity(option: Option, value: object) -> float:
    """Return seconds or bytes, given as a number or as a text with a unit."""
    if isinstance(value, str):
        try:
            quantity: float = job_options.parse(option.kind, value)
        except ValueError as error:
            raise UsageError(f"{option.name}: {error}.") from None
        return quantity
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        unit, example = ("bytes", "256MiB") if option.kind == Bytes() else ("seconds", "30s")
        raise _wrong(option.name, value, f'a number of {unit}, or a text such as "{example}"')
    return int(value) if isinstance(option.kind, Bytes) else float(value)
