"""The arguments of `mrcore.run`, and how they become a `JobRequest`.

Whatever a program passes, what cannot be is told in a sentence before anything is started.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from mrcore.client.request import Functions, JobRequest
from mrcore.errors import UsageError
from mrcore.model.job import Compression, InputFormat, OutputFormat
from mrcore.util.texts import printable, text_of
from mrcore.util.units import parse_duration, parse_size

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
        inputs=_paths("inputs", inputs),
        output=path_text("output", output),
        cwd=Path.cwd(),
        files=_paths("files", options.get("files", ())),
        reduces=0 if options.get("reduces") == "auto" else _number("reduces", options, 0),
        input_format=_choice(InputFormat, options.get("input_format", "text")),
        output_format=_choice(OutputFormat, options.get("output_format", "text")),
        compression=_choice(Compression, options.get("compress", "none")),
        combine=not _flag("no_combine", options),
        map_only=_flag("map_only", options),
        total_order=_flag("total_order", options),
        params=_params(options.get("params", {})),
        max_attempts=_number("max_attempts", options, 4),
        task_timeout_seconds=None if task_timeout is None else _seconds(task_timeout),
        lease_seconds=_seconds(options.get("lease", 10.0)),
        max_bad_records=_number("max_bad_records", options, 0),
        memory_bytes=_bytes(options.get("memory", 0)),
        temp=None if temp is None else path_text("temp", temp),
        overwrite=_flag("overwrite", options),
        priority=_number("priority", options, 0),
    )


def _target(plugin: str | os.PathLike[str] | None, options: JobOptions) -> str | Functions:
    functions = [field.name for field in dataclasses.fields(Functions) if field.name != "name"]
    given: dict[str, Any] = {name: options[name] for name in functions if name in options}  # type: ignore[literal-required]
    if plugin is not None and not given and not callable(plugin):
        return path_text(
            "plugin", plugin, "a path, a module or module:object; give functions as map="
        )
    if plugin is not None or "map" not in given:
        raise UsageError("mrcore.run needs either plugin=PATH or map=FUNCTION, and not both.")
    for name, function in given.items():
        if not callable(function) and (function is not None or name == "map"):
            raise _wrong(name, function, "a function")
    name = options.get("name", "session")
    if not isinstance(name, str):
        raise _wrong("name", name, "a text")
    return Functions(**given, name=name)


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


def _choice(kind: type[_Choice], text: str) -> _Choice:
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(member.value for member in kind)
        raise UsageError(f"{text!r} is not one of {known}.") from None


def _paths(name: str, given: object) -> tuple[str, ...]:
    """Return one path or many as texts."""
    if isinstance(given, str | os.PathLike):
        return (path_text(name, given),)
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise _wrong(name, given, "a path or URI, or a list of them")
    return tuple(path_text(f"{name}[{n}]", path) for n, path in enumerate(given))


def _number(
    name: Literal["reduces", "max_attempts", "max_bad_records", "priority"],
    options: JobOptions,
    default: int,
) -> int:
    return count(name, options.get(name, default))


def _flag(
    name: Literal["no_combine", "map_only", "total_order", "overwrite"], options: JobOptions
) -> bool:
    value = options.get(name, False)
    if not isinstance(value, bool):
        raise _wrong(name, value, "True or False")
    return value


def _params(given: object) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise _wrong("params", given, "a dict of texts")
    try:
        return {str(name): str(value) for name, value in given.items()}
    except Exception:  # noqa: BLE001 - `str` of whatever was given
        raise _wrong("params", given, "a dict of texts") from None


def _seconds(value: object) -> float:
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except ValueError as error:
            raise UsageError(f"{error}.") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong("A duration", value, 'a number of seconds, or a text such as "30s"')
    return float(value)


def _bytes(value: object) -> int:
    if isinstance(value, str):
        try:
            return parse_size(value)
        except ValueError as error:
            raise UsageError(f"{error}.") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong("A size", value, 'a number of bytes, or a text such as "256MiB"')
    return int(value)
