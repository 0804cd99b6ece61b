"""`Client.mapreduce`: map and reduce over a list in memory, as two rows of calls."""

from __future__ import annotations

import heapq
import itertools
import operator
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from mrcore.calls import payload
from mrcore.client.option_values import count
from mrcore.cluster.grouping import Groups, map_items, reduce_part
from mrcore.errors import PicklingError, UsageError
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
    tasks = min(tasks, len(items))
    borders = [len(items) * number // max(1, tasks) for number in range(tasks + 1)]
    mapped: list[CallFuture[list[Groups]]] = []
    reduced: list[CallFuture[list[tuple[bytes, Any, Any]]]] = []
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
        found = client.gather(reduced)
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
    for part in found:
        part.sort(key=operator.itemgetter(0))
    pairs = [(key, result) for _, key, result in heapq.merge(*found, key=operator.itemgetter(0))]
    KeyTypes().check([key for key, _ in pairs])
    return pairs
