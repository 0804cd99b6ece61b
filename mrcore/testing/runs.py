"""One job in memory, for a test: a plugin or a dataset, with its input as lists."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random  # noqa: TID251 - seeded by whoever asks for another order
from typing import Any, Final, TypeAlias, cast

from mrcore.client.arguments import option_values
from mrcore.client.option_values import path_text
from mrcore.client.python_names import python_errors
from mrcore.client.request import Functions, JobRequest
from mrcore.dataset.dataset import Dataset
from mrcore.dataset.lowers import AsValues
from mrcore.dataset.nodes import Node, Source, replaced, sources_of
from mrcore.dataset.pipeline import Lift
from mrcore.dataset.planning import plan
from mrcore.dataset.running import run_plan, where
from mrcore.engine.api import RunFailedError
from mrcore.engine.inline import run_inline
from mrcore.engine.results import ResultReader
from mrcore.errors import UsageError
from mrcore.model.formats import PICKLE
from mrcore.model.job import JobState
from mrcore.model.job_options import by_name
from mrcore.plugin.aggregates import Aggregate
from mrcore.plugin.functions import FUNCTIONS, STEPS, StepFunctions, UserFunction, UserFunctions
from mrcore.records.frames import item_frames, pairs_of_results
from mrcore.util.temporary import temporary_folder
from mrcore.util.texts import nearest

Records: TypeAlias = str | Iterable[Any]
"""A text, whose lines are the records, or the records themselves."""
Inputs: TypeAlias = Records | Mapping[str, Any]
_PIECES: Final = 3
"""Pieces of the values of one key that are combined by themselves."""
_NAME: Final = "input"
"""Name of records in memory: the first half of the key that `map` gets."""


@python_errors()
def run(
    plugin: str | os.PathLike[str] | Dataset | None = None,
    inputs: Inputs | None = None,
    *,
    shuffle_values: int | None = None,
    combine: bool = True,
    slots: int = 1,
    **options: Any,
) -> list[Any]:
    """Run a job in this process and return its pairs, or the elements of a dataset, as a list.

    `plugin` is what `mrcore.run` takes: a path, a module, or functions (`map=`, `reduce=`, `steps=`
    and so on). `inputs` is a list of records, as `map` gets them, or a text, whose lines are the
    records. A dict names files: their content is a text, and is read in the job's own format. Of a
    dataset it replaces sources: by the path that they were given, or the only one.

    With `shuffle_values` the values of each key come in another order for each seed, unless a
    `sort_key` orders them. A combiner is called for pieces of the values of each key, as it is in a
    large job; `combine=False` leaves it out. `slots` is what the input is cut for. The other
    keywords are options of `mrcore.run`.

    Raises RunFailedError for what the job's code raises, UsageError for what cannot work as given.
    """
    options = {**options, "no_combine": not combine}
    change = _changing(shuffle_values, combine)
    if isinstance(plugin, Dataset):
        place = where("run", {**options, "engine": "inline", "slots": slots})
        node = plugin.node if inputs is None else _with_inputs(plugin.node, inputs)
        found: list[bytes] = []
        reader = ResultReader(found.append)
        run_plan(plan(node, AsValues()), replace(place, change=change), reader=reader)
        return [element for _, element in pairs_of_results(found)]
    if inputs is None:
        raise UsageError("run needs inputs. Give a list of records, a text, or a dict of files.")
    results: list[bytes] = []
    with temporary_folder("test") as folder:
        request = _request(plugin, inputs, folder, options)
        job = run_inline(request, slots=slots, on_result=results.append, change=change)
    if job.state is not JobState.SUCCEEDED:
        raise RunFailedError(job)
    return list(pairs_of_results(results))


def _request(
    plugin: str | os.PathLike[str] | None,
    inputs: Inputs,
    folder: Path,
    options: Mapping[str, Any],
) -> JobRequest:
    """Return the request for a plugin; its input is written to a folder."""
    known = (*by_name(), *FUNCTIONS, STEPS, "name")
    for keyword in options:
        if keyword not in known:
            raise UsageError(f"run has no option {keyword!r}.{nearest(keyword, known)}")
    given = {name: options[name] for name in (*FUNCTIONS, STEPS) if options.get(name) is not None}
    target: str | Functions
    if plugin is not None and not given:
        target = path_text("plugin", plugin)
        if target.endswith(".py"):
            target = str(Path(target).absolute())
    elif plugin is None and given:
        target = Functions(given=given, name=str(options.get("name", "test")))
    else:
        raise UsageError("run needs a plugin, a Dataset, or functions such as map=, not two.")
    values = option_values(options)
    if isinstance(inputs, Mapping):
        names = tuple(_write(folder, name, content) for name, content in inputs.items())
    else:
        (folder / _NAME).write_bytes(item_frames(_records(inputs)))
        names, values = (_NAME,), {**values, "input_format": PICKLE}
    return JobRequest(plugin=target, inputs=names, output=None, cwd=folder, options=values)


def _write(folder: Path, name: str, content: Any) -> str:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or not isinstance(content, str | bytes):
        raise UsageError(
            f"The input {name!r} has to be a relative name with a text or bytes. Write "
            '{"a.csv": "id,name\\n1,Ann\\n"}.'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def _records(given: Records) -> Sequence[Any]:
    if isinstance(given, str):
        return given.splitlines()
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise UsageError(f"inputs is {given!r}. Give a list of records, a text, or a dict.")
    return list(given)


def _with_inputs(node: Node, inputs: Inputs) -> Node:
    """Return a node whose sources are records in memory."""
    sources = sources_of(node)
    if not isinstance(inputs, Mapping):
        if len(sources) != 1:
            raise UsageError(
                f"The dataset has {len(sources)} sources. Give a dict of their paths and records."
            )
        return replaced(node, {id(sources[0]): _in_memory(sources[0], inputs)})
    by_path = {path: source for source in sources for path in source.paths}
    new = {}
    for path, records in inputs.items():
        if path not in by_path:
            hint = nearest(path, by_path)
            raise UsageError(f"The dataset does not read {path!r}.{hint}")
        new[id(by_path[path])] = _in_memory(by_path[path], records)
    return replaced(node, new)


def _in_memory(source: Source, records: Records) -> Source:
    # Pairs of names and texts are items as they are.
    lift = Lift.VALUE if source.lift is Lift.PAIR else source.lift
    items = item_frames(_records(records))
    return Source(title=source.title, format=PICKLE, lift=lift, items=items)


def _changing(seed: int | None, combine: bool) -> Callable[[UserFunctions], UserFunctions]:
    """Return what makes the steps of a plugin see values otherwise than a small job shows them."""

    def change(functions: UserFunctions) -> UserFunctions:
        return functions.with_steps([_changed(step, seed, combine) for step in functions.steps])

    return change


def _changed(step: StepFunctions, seed: int | None, combine: bool) -> StepFunctions:
    """Return a step whose reduce gets combined values, in an order that the seed chooses."""
    reduce, combiner = step.get("reduce"), step.get("combine") if combine else None
    # The shuffle knows aggregates by their type, and computes them as it does in a large job.
    if isinstance(combiner, Aggregate):
        combiner = None
    keeps_order = "sort_key" in step or getattr(reduce, "needs_order", False)
    if isinstance(reduce, Aggregate) or keeps_order:
        seed = None
    if reduce is None or (seed is None and combiner is None):
        return step
    changed: dict[str, Any] = {**step, "reduce": _Reduce(reduce, combiner, seed)}
    return cast(StepFunctions, changed)


class _Reduce:
    """A reduce whose values are put in another order, and combined in pieces first."""

    def __init__(
        self, reduce: UserFunction, combine: UserFunction | None, seed: int | None
    ) -> None:
        self._reduce = reduce
        self._combine = combine
        self._seed = seed

    def __call__(self, key: Any, values: Iterator[Any]) -> Any:
        some = list(values)
        if self._seed is not None:
            Random(f"{self._seed} {key!r}").shuffle(some)
        if self._combine is not None:
            size = max(1, -(-len(some) // _PIECES))
            pieces = [some[start : start + size] for start in range(0, len(some), size)]
            some = [value for piece in pieces for value in self._combined(key, piece)]
        return self._reduce(key, iter(some))

    def _combined(self, key: Any, values: list[Any]) -> Iterator[Any]:
        """Yield what the combiner leaves of values."""
        assert self._combine is not None
        result = self._combine(key, iter(values))
        if isinstance(result, Iterator):
            yield from (value for _, value in result)
        elif result is not None:
            yield result
