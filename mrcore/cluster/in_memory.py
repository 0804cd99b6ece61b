"""`Client.mapreduce`: map and reduce over a list in memory.

Small data is two rows of calls. Larger data, or small data with many pairs, is a job: it sorts and
spills, so neither pairs nor groups of keys have to fit in the memory of a worker together.
"""

from __future__ import annotations

import heapq
import itertools
import operator
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcore.calls import payload
from mrcore.client.option_values import count
from mrcore.client.request import Functions, JobRequest, load_plugin, prepare
from mrcore.cluster.grouping import (
    GROUPS_BYTES,
    Groups,
    MapLists,
    ReduceLists,
    SizeEstimate,
    map_items,
    reduce_part,
)
from mrcore.engine.api import RunFailedError
from mrcore.engine.items import pickled_items, store_items
from mrcore.engine.local_run import submit_and_follow
from mrcore.engine.results import ResultReader
from mrcore.errors import PicklingError, UsageError
from mrcore.model.formats import PICKLE
from mrcore.model.job import JobState
from mrcore.records.frames import pairs_of_results
from mrcore.shuffle.encoding import encode
from mrcore.shuffle.keys import KeyTypes

if TYPE_CHECKING:
    from mrcore.cluster.client import Client
    from mrcore.cluster.futures import CallFuture


def mapreduce(
    client: Client,
    data: Iterable[Any],
    map_func: Callable[[list[Any]], Iterable[tuple[Any, Any]]],
    reduce_func: Callable[[list[Any]], Any],
    tasks: int,
) -> list[tuple[Any, Any]]:
    """Return a list of (key, result) in the order of keys; the arguments are as of `Client`."""
    if count("workers", tasks) < 1:
        raise UsageError(f"workers is {tasks}. Give a number of at least 1.")
    items = list(data)
    size = SizeEstimate(GROUPS_BYTES)
    found = None
    if not any(map(size.is_exceeded_by, items)):
        found = _by_calls(client, items, map_func, reduce_func, tasks)
    return _by_job(client, items, map_func, reduce_func, tasks) if found is None else found


def _by_calls(
    client: Client,
    items: list[Any],
    map_func: Callable[[list[Any]], Iterable[tuple[Any, Any]]],
    reduce_func: Callable[[list[Any]], Any],
    tasks: int,
) -> list[tuple[Any, Any]] | None:
    """Return the pairs; None where there are more than calls should hold."""
    tasks = min(tasks, len(items))
    borders = [len(items) * number // max(1, tasks) for number in range(tasks + 1)]
    mapped: list[CallFuture[list[Groups] | None]] = []
    reduced: list[CallFuture[list[tuple[bytes, Any, Any]] | None]] = []
    try:
        mapped += [
            client.call(map_items, map_func, tasks, items[start:end])
            for start, end in itertools.pairwise(borders)
        ]
        reduced += [client.call(reduce_part, reduce_func, part, *mapped) for part in range(tasks)]
        # A failure of a map is reported as what it raised, and not as that of an argument.
        for future in mapped:
            future.exception()
            if future.cancelled() or future.exception() is not None:
                future.result()
        gathered = client.gather(reduced)
    except BaseException as error:
        for one in mapped:
            one.cancel()
        for other in reduced:
            other.cancel()
        if isinstance(error, PicklingError):
            # These words name what the user gave, and not an argument of a call of ours.
            payload.dump_function(map_func)
            payload.dump_function(reduce_func)
            payload.check_data(items)
        raise
    found = [part for part in gathered if part is not None]
    if len(found) < len(gathered):
        return None
    for part in found:
        part.sort(key=operator.itemgetter(0))
    pairs = [(key, result) for _, key, result in heapq.merge(*found, key=operator.itemgetter(0))]
    KeyTypes().check([key for key, _ in pairs])
    return pairs


def _by_job(
    client: Client,
    items: list[Any],
    map_func: Callable[[list[Any]], Iterable[tuple[Any, Any]]],
    reduce_func: Callable[[list[Any]], Any],
    tasks: int,
) -> list[tuple[Any, Any]]:
    """Run a job over the items, and return its pairs; raise RunFailedError where it fails."""
    data = pickled_items(items)
    found: list[bytes] = []
    reader = ResultReader(found.append)
    request = JobRequest(
        plugin=Functions(
            given={"map": MapLists(map_func), "reduce": ReduceLists(reduce_func)}, name="mapreduce"
        ),
        inputs=(store_items(client.master, data),),
        input_names=("the data",),
        output=None,
        cwd=Path.cwd(),
        options={"input_format": PICKLE, "reduces": tasks},
    )
    prepared = load_plugin(prepare(request, look=False))
    job = submit_and_follow(client.master, prepared, None, reader=reader)
    if job.state is not JobState.SUCCEEDED:
        raise RunFailedError(job)
    return sorted(pairs_of_results(found), key=lambda pair: encode(pair[0]))
