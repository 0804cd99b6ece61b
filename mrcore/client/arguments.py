"""The keyword arguments of `mrcore.run`, checked and made a `JobRequest`.

An argument of a wrong type raises UsageError with a sentence, before anything is started.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, Unpack

from mrcore.client.option_values import path_text, paths, value_of, wrong
from mrcore.client.request import Functions, JobRequest
from mrcore.errors import UsageError
from mrcore.model import job_options
from mrcore.model.resources import Wanted
from mrcore.plugin.functions import FUNCTIONS, INPUTS, STEPS, PluginFunctions, UserFunction
from mrcore.plugin.inputs import Input
from mrcore.plugin.steps import Step
from mrcore.util.texts import nearest

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
    map_tasks: int | Literal["auto"]
    records_per_task: int | Literal["auto"]
    limit: int | Literal["none"]
    input_format: str
    output_format: str
    compress: str
    columns: Mapping[str, str | type]
    """Types of the columns of the output's rows, in order, such as "int" or int."""
    partition_by: str | Sequence[str]
    """Columns whose values are folders of the output."""
    input_columns: Mapping[str, str | type]
    """Types of the columns of csv and tsv inputs."""
    no_combine: bool
    no_backup: bool
    map_only: bool
    total_order: bool
    params: Mapping[str, object]
    """Parameters for the plugin; their values reach `context.params` as texts."""
    max_attempts: int
    task_timeout: float | str
    record_timeout: float | str
    lease: float | str
    max_bad_records: int | str
    """Number of bad records to skip, or a share of all such as "1%"."""
    memory: int | str
    temp: str | os.PathLike[str]
    overwrite: bool
    resources: Wanted | str | None
    """Resources of each task, such as {"cpu": 2, "memory": "4GiB", "labels": {"gpu"}}."""
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
    known = {*job_options.by_name(), *FUNCTIONS, STEPS, "name"}
    unknown = set(values) - known
    if unknown:
        name = min(unknown)
        raise UsageError(f"mrcore.run knows no option {name!r}.{nearest(name, sorted(known))}")
    groups: Mapping[str, object] | None = None
    if isinstance(inputs, Mapping):
        groups = {path_text("inputs", path): entry for path, entry in inputs.items()}
    return JobRequest(
        plugin=_target(plugin, values, groups),
        inputs=paths("inputs", inputs) if groups is None else tuple(groups),
        groups=() if groups is None else tuple(range(len(groups))),
        output=path_text("output", output),
        cwd=Path.cwd(),
        options=option_values(values),
    )


def option_values(values: Mapping[str, object]) -> dict[str, Any]:
    """Return the job options among keywords, checked; raise UsageError for one that cannot be."""
    return {
        name: value
        for name, option in job_options.by_name().items()
        if name in values and (value := value_of(option, values[name])) is not None
    }


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
            raise wrong(name, function, "a function")
    name = options.get("name", "session")
    if not isinstance(name, str):
        raise wrong("name", name, "a text")
    return Functions(given=given, name=name)


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
