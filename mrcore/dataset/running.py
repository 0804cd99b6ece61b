"""Runs of a dataset's plan: on a cluster, on one of its own, or in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mrcore.client.arguments import option_values
from mrcore.client.option_values import count
from mrcore.client.python_names import in_dataset, python_errors
from mrcore.client.request import Functions, JobRequest, load_plugin, prepare
from mrcore.dataset.nodes import ITEMS
from mrcore.dataset.planning import Plan
from mrcore.engine.api import RunFailedError
from mrcore.engine.items import store_items
from mrcore.engine.local_run import run_embedded, submit_and_follow
from mrcore.engine.results import ResultReader
from mrcore.errors import UsageError
from mrcore.model.job import JobState
from mrcore.model.job_options import by_name
from mrcore.model.snapshots import JobView
from mrcore.plugin import nesting
from mrcore.plugin.functions import GRAPH, INPUTS, STEPS, UserFunctions
from mrcore.plugin.inputs import Input
from mrcore.plugin.steps import Step
from mrcore.util.temporary import temporary_folder
from mrcore.util.texts import nearest

if TYPE_CHECKING:
    from mrcore.client.follow import Observer
    from mrcore.cluster.client import Client

Change: TypeAlias = Callable[[UserFunctions], UserFunctions]
PLACES: Final = ("on", "engine", "workers", "slots", "name", "observer", "progress")
"""Keywords of an action that are not options of a job."""
_UNUSED: Final = frozenset(("input_format", "output_format", "map_only", "total_order"))
"""Options of a job that follow from the dataset."""


@dataclass(frozen=True, slots=True)
class Where:
    """Place and settings of the run of a plan."""

    on: Client | None
    engine: str
    workers: int | None
    slots: int
    name: str
    observer: Observer | None
    progress: bool | None
    """Whether the job is shown as a line on stderr; None: on a terminal and in a notebook."""
    options: Mapping[str, Any]
    """Options of the job, by name."""
    change: Change | None = None
    """Function that replaces the plan's functions, for the inline engine."""


def where(action: str, given: Mapping[str, Any]) -> Where:
    """Return the checked keywords of an action; raise UsageError for one that cannot be."""
    known = by_name().keys() - _UNUSED
    for keyword in given:
        if keyword not in known and keyword not in PLACES:
            hint = nearest(keyword, [*known, *PLACES])
            raise UsageError(f"{action} has no option {keyword!r}.{hint}")
    on, engine = given.get("on"), given.get("engine", "embedded")
    if on is not None:
        from mrcore.cluster.client import Client

        if not isinstance(on, Client):
            raise UsageError(
                f"on={on!r} is not a cluster. Give it what mrcore.connect or mrcore.LocalCluster "
                "returns."
            )
        for keyword in ("engine", "workers", "slots"):
            if keyword in given:
                raise UsageError(f"{action} runs on a cluster that is up. Leave out {keyword}=.")
    if engine not in ("embedded", "inline"):
        raise UsageError(f"{engine!r} is not an engine. Use embedded or inline.")
    workers = given.get("workers")
    return Where(
        on=on,
        engine=engine,
        workers=None if workers is None else count("workers", workers),
        slots=count("slots", given.get("slots", 1)),
        name=str(given.get("name", "dataset")),
        observer=given.get("observer"),
        progress=_switch("progress", given.get("progress")),
        options=option_values(given),
    )


def _switch(name: str, value: object) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}. Give True or False.")
    return value


@python_errors(in_dataset)
def run_plan(
    plan: Plan,
    place: Where,
    *,
    output: str | None = None,
    output_format: str = "text",
    reader: ResultReader | None = None,
) -> JobView:
    """Run a plan to its end, and return its job.

    Without an output the tasks of its last stage leave results, for `reader`. Raises RunFailedError
    when the job failed, UsageError and its children when it cannot work as given.
    """
    from mrcore.cluster.progress import JobLine

    nesting.check_allowed()
    if place.on is not None:
        place.on.check_open()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("items"))
        if place.observer is None:
            line = JobLine(plan.title, is_shown=place.progress)
            stack.callback(line.close)
            place = replace(place, observer=line)

        def store(data: bytes, number: int) -> str:
            if place.on is not None:
                return store_items(place.on.master, data)
            path = folder / f"items-{number}"
            path.write_bytes(data)
            return str(path)

        request = _request(plan, place, output, output_format, store)
        job = _run(request, place, reader)
    if job.state is not JobState.SUCCEEDED and not (reader is not None and reader.has_enough):
        raise RunFailedError(job, in_dataset)
    return job


def _run(request: JobRequest, place: Where, reader: ResultReader | None) -> JobView:
    """Run a job to its end, or until its reader has enough."""
    if place.on is not None:
        prepared = load_plugin(prepare(request, look=False))
        return submit_and_follow(place.on.master, prepared, place.observer, reader=reader)
    if place.engine == "inline":
        from mrcore.engine.inline import run_inline

        return run_inline(
            request,
            slots=(place.workers or 1) * place.slots,
            observer=place.observer,
            on_result=None if reader is None else reader.take,
            change=place.change or (lambda functions: functions),
        )
    return run_embedded(
        request,
        workers=place.workers,
        slots=place.slots,
        observer=place.observer,
        reader=reader,
    )


def _request(
    plan: Plan,
    place: Where,
    output: str | None,
    output_format: str,
    store: Callable[[bytes, int], str],
) -> JobRequest:
    """Return the request for a plan; `store` returns the place of items, given their number."""
    paths: list[str] = []
    names: list[str] = []
    groups: list[int] = []
    stored: dict[int, str] = {}
    """Places of items, by the identity of their source: several groups may read them."""
    for number, group in enumerate(plan.groups):
        source = group.source
        if source.items is not None:
            if id(source) not in stored:
                stored[id(source)] = store(source.items, number)
            named: Sequence[str] = (stored[id(source)],)
            names.append(ITEMS)
        else:
            named = source.paths
            names += [""] * len(named)
        paths += named
        groups += [number] * len(named)
    inputs = {str(n): Input(g.map, format=g.source.format) for n, g in enumerate(plan.groups)}
    # A plugin has at least one step; one that no stage names does nothing.
    given: dict[str, object] = {INPUTS: inputs, GRAPH: True, STEPS: list(plan.steps or [Step()])}
    return JobRequest(
        plugin=Functions(given=given, name=place.name, stages=tuple(plan.stages)),
        inputs=tuple(paths),
        output=output,
        cwd=Path.cwd(),
        groups=tuple(groups),
        input_names=tuple(names),
        options={**place.options, "output_format": output_format},
    )
