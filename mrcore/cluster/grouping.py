"""Work of the calls of an in-memory map and reduce: to group, and to reduce a part."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from mrcore.errors import UsageError
from mrcore.plugin.functions import MapMany, Wrapper
from mrcore.shuffle.encoding import encode
from mrcore.shuffle.keys import KeyTypes
from mrcore.util.object_copies import PROTOCOL
from mrcore.util.texts import printable, text_of

GROUPS_BYTES: Final = 64 << 20
"""Bytes of all pairs that calls group: each reduce call reads all of them."""
LIST_ITEMS: Final = 10_000
"""Items that the map function of a job gets at once."""
_SAMPLE: Final = 64
_PAIR_BYTES: Final = 16
Groups = dict[bytes, tuple[Any, list[Any]]]
"""Keys with their values, by the encoded key, which sorts as the keys of jobs do."""


def map_items(
    map_func: Callable[[list[Any]], Iterable[tuple[Any, Any]]], parts: int, items: list[Any]
) -> list[Groups] | None:
    """Return the groups of each part; None where they are too large for calls.

    Raises KeyTypeError and what the user's function raises.
    """
    keys: list[Any] = []
    values: list[Any] = []
    size = SizeEstimate(GROUPS_BYTES // max(1, parts))
    for key, value in checked_pairs(map_func, items):
        keys.append(key)
        values.append(value)
        if size.is_exceeded_by(value):
            return None
    found: list[Groups] = [{} for _ in range(parts)]
    # Each key is encoded once, however often it comes.
    known: dict[tuple[type, Any], list[Any]] = {}
    for key, value in zip(KeyTypes().check(keys) if keys else (), values, strict=True):
        group = known.get((type(key), key))
        if group is None:
            group = known[type(key), key] = []
            encoded = encode(key)
            found[zlib.crc32(encoded) % parts][encoded] = (key, group)
        group.append(value)
    return found


def checked_pairs(
    map_func: Callable[[list[Any]], Iterable[tuple[Any, Any]]], items: list[Any]
) -> Iterator[tuple[Any, Any]]:
    """Yield the pairs of items; raise UsageError for anything else that the function returns."""
    pairs = map_func(items)
    if not isinstance(pairs, Iterable):
        raise UsageError(
            f"map_func returned {printable(text_of(pairs, repr), 100)}. Return a list of "
            "(key, value)."
        )
    for pair in pairs:
        try:
            key, value = pair
        except (TypeError, ValueError):
            raise UsageError(
                f"map_func returned {printable(text_of(pair, repr), 100)} among its pairs. Return "
                "a list of (key, value)."
            ) from None
        yield key, value


class SizeEstimate:
    """Estimate of the pickled bytes of values: of the first ones all, then of each 64th."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._values = 0
        self._bytes = 0

    def is_exceeded_by(self, value: Any) -> bool:
        """Count one more value; return whether they are larger than the limit by now."""
        self._values += 1
        if self._values > _SAMPLE and self._values % _SAMPLE:
            return False
        try:
            size = len(pickle.dumps(value, PROTOCOL))
        except Exception:  # noqa: BLE001 - who sends it reports that, with better words
            return False
        self._bytes += size * (_SAMPLE if self._values > _SAMPLE else 1)
        # A pair costs its place in lists, too.
        return self._bytes + _PAIR_BYTES * self._values > self._limit_bytes


def reduce_part(
    reduce_func: Callable[[list[Any]], Any], part: int, *mapped: list[Groups] | None
) -> list[tuple[bytes, Any, Any]] | None:
    """Return the encoded key, the key and the result of each group of a part.

    Returns None where any of the groups were too large.
    """
    groups: Groups = {}
    for parts in mapped:
        if parts is None:
            return None
        for encoded, (key, values) in parts[part].items():
            known = groups.get(encoded)
            if known is None:
                groups[encoded] = (key, list(values))
            else:
                known[1].extend(values)
    return [(encoded, key, reduce_func(values)) for encoded, (key, values) in groups.items()]


class MapLists(MapMany):
    """The map function of a job: items in lists, as `map_items` passes them on."""

    __name__ = "map_func"

    def __init__(self, map_func: Callable[[list[Any]], Iterable[tuple[Any, Any]]]) -> None:
        self._map_func = map_func

    def functions(self) -> Sequence[object]:
        """Return the function of the user."""
        return (self._map_func,)

    def begin_task(self, index: int) -> None:
        """Do nothing: nothing is kept."""

    def over(self, keys: Iterable[Any], values: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield the pairs of items, lazily."""
        del keys
        rest = iter(values)
        while some := list(islice(rest, LIST_ITEMS)):
            yield from checked_pairs(self._map_func, some)


class ReduceLists(Wrapper):
    """The reduce function of a job, which takes the values of a key as a list."""

    __name__ = "reduce_func"

    def __init__(self, reduce_func: Callable[[list[Any]], Any]) -> None:
        self._reduce_func = reduce_func

    def functions(self) -> Sequence[object]:
        """Return the function of the user."""
        return (self._reduce_func,)

    def __call__(self, key: Any, values: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield the key with the result, which may be None."""
        yield key, self._reduce_func(list(values))
