"""Work of the calls of an in-memory map and reduce: to group, and to reduce a part."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Any

from mrcore.errors import UsageError
from mrcore.shuffle.encoding import encode
from mrcore.shuffle.keys import KeyTypes
from mrcore.util.texts import printable, text_of

Groups = dict[bytes, tuple[Any, list[Any]]]
"""Keys with their values, by the encoded key, which sorts as the keys of jobs do."""


def map_items(
    map_func: Callable[[list[Any]], Iterable[tuple[Any, Any]]], parts: int, items: list[Any]
) -> list[Groups]:
    """Return the groups of each part; raise KeyTypeError and what the user's function raises."""
    keys: list[Any] = []
    values: list[Any] = []
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
        keys.append(key)
        values.append(value)
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


def reduce_part(
    reduce_func: Callable[[list[Any]], Any], part: int, *mapped: list[Groups]
) -> list[tuple[bytes, Any, Any]]:
    """Return the encoded key, the key and the result of each group of a part."""
    groups: Groups = {}
    for parts in mapped:
        for encoded, (key, values) in parts[part].items():
            known = groups.get(encoded)
            if known is None:
                groups[encoded] = (key, list(values))
            else:
                known[1].extend(values)
    return [(encoded, key, reduce_func(values)) for encoded, (key, values) in groups.items()]
