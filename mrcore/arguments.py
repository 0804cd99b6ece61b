"""The arguments of `mrcore.run`, and how they become a `JobRequest`.

Whatever a program passes, what cannot be is told in a sentence before anything is started.
"""

from __future__ import annotations

import dataclasses
import enum
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from mrcore.errors import UsageError
from mrcore.job import Compression, InputFormat, OutputFormat
from mrcore.request import Functions, JobRequest
from mrcore.units import parse_duration, parse_size

_Choice = TypeVar("_Choice", bound=enum.StrEnum)


class JobOptions(TypedDict, total=False):
    """What can be said of a job beside plugin, inputs and output.

    The functions of the plugin, and the options of the command line by their own names. Sizes and
    durations are numbers (bytes, seconds) or texts such as "256MiB" and "30s".
    """

    map: Callable[..., Any]
    reduce: Callable[..., Any]
    combine: Callable[..., Any]
    partition: Callable[..., Any]
    sort_key: Callable[..., Any]
    setup: Callable[..., Any]
    name: str
    """Of a job made from functions, for display."""
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    reduces: int | Literal["auto"]
    input_format: str
    output_format: str
    compress: str
    no_combine: bool
    map_only: bool
    total_order: bool
    params: Mapping[str, object]
    """As text, which is what `context.params` has."""
    max_attempts: int
    task_timeout: float | str
    lease: float | str
    max_bad_records: int
    memory: int | str
    temp: str | os.PathLike[str]
    overwrite: bool
    priority: int


def make_request(
    plugin: str | os.PathLike[str] | None,
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    **options: Unpack[JobOptions],
) -> JobRequest:
    """Return what `run` and `Client.submit` need; raise UsageError for options that cannot be."""
    unknown = set(options) - set(JobOptions.__annotations__)
    if unknown:
        raise UsageError(f"mrcore.run knows no option {min(unknown)!r}.")
    task_timeout, temp = options.get("task_timeout"), options.get("temp")
    return JobRequest(
        plugin=_target(plugin, options),
        inputs=_paths(inputs),
        output=os.fspath(output),
        cwd=Path.cwd(),
        files=_paths(options.get("files", ())),
        reduces=0 if options.get("reduces") == "auto" else _number("reduces", options, 0),
        input_format=_choice(InputFormat, options.get("input_format", "text")),
        output_format=_choice(OutputFormat, options.get("output_format", "text")),
        compression=_choice(Compression, options.get("compress", "none")),
        combine=not options.get("no_combine", False),
        map_only=options.get("map_only", False),
        total_order=options.get("total_order", False),
        params={str(name): str(value) for name, value in options.get("params", {}).items()},
        max_attempts=_number("max_attempts", options, 4),
        task_timeout_seconds=None if task_timeout is None else _seconds(task_timeout),
        lease_seconds=_seconds(options.get("lease", 10.0)),
        max_bad_records=_number("max_bad_records", options, 0),
        memory_bytes=_bytes(options.get("memory", 0)),
        temp=None if temp is None else os.fspath(temp),
        overwrite=options.get("overwrite", False),
        priority=_number("priority", options, 0),
    )


def _target(plugin: str | os.PathLike[str] | None, options: JobOptions) -> str | Functions:
    functions = [field.name for field in dataclasses.fields(Functions) if field.name != "name"]
    given: dict[str, Any] = {name: options[name] for name in functions if name in options}  # type: ignore[literal-required]
    if plugin is not None and not given and not callable(plugin):
        return os.fspath(plugin)
    if plugin is None and "map" in given:
        return Functions(**given, name=options.get("name", "session"))
    raise UsageError("mrcore.run needs either plugin=PATH or map=FUNCTION, and not both.")


def _choice(kind: type[_Choice], text: str) -> _Choice:
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(member.value for member in kind)
        raise UsageError(f"{text!r} is not one of {known}.") from None


def _paths(
    given: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> tuple[str, ...]:
    """Return one path or many as texts."""
    paths = [given] if isinstance(given, str | os.PathLike) else given
    return tuple(os.fspath(path) for path in paths)


def _number(
    name: Literal["reduces", "max_attempts", "max_bad_records", "priority"],
    options: JobOptions,
    default: int,
) -> int:
    value = options.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}, but has to be a whole number.")
    return value


def _seconds(value: float | str) -> float:
    try:
        return parse_duration(value) if isinstance(value, str) else float(value)
    except ValueError as error:
        raise UsageError(f"{error}.") from None


def _bytes(value: int | str) -> int:
    try:
        return parse_size(value) if isinstance(value, str) else int(value)
    except ValueError as error:
        raise UsageError(f"{error}.") from None
