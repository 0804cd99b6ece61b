"""Keys to sort by, in which numbers of all types have one order: that of Python's `sorted`.

Floats sort as they are, and an int goes with the float that equals it. An int that no float equals,
such as 2 ** 53 + 1, is kept exactly: as the float below it and the distance from there. Dates and
times become texts or numbers that sort as they do.
"""

from __future__ import annotations

import datetime
import math
import sys
from typing import Any, Final, NamedTuple

_TURNED: Final = bytes(255 - byte for byte in range(256))


class BetweenFloats(NamedTuple):
    """An int that no float equals. It sorts behind `below`, and before the next float."""

    below: float
    """Largest float below the int; minus infinity where there is no other."""
    rest: int
    """Distance of the int from `below`; the int itself above minus infinity."""


def number_of(below: float, rest: int) -> int:
    """Return the int that a `BetweenFloats` stands for."""
    return int(below) + rest if math.isfinite(below) else rest


def _between(number: int) -> BetweenFloats:
    try:
        below = float(number)
    except OverflowError:
        below = sys.float_info.max if number > 0 else -math.inf
    if below > number:
        below = math.nextafter(below, -math.inf)
    return BetweenFloats(below, number - int(below) if math.isfinite(below) else number)


def ascending(key: Any) -> Any:
    """Return the key with each number as a float or a `BetweenFloats`, in tuples too.

    Whatever cannot be a key is returned as it is.
    """
    kind = type(key)
    if kind is str or kind is float:
        return key
    if kind is int or kind is bool:
        try:
            near = float(key)
        except OverflowError:
            return _between(key)
        return near if near == key else _between(key)
    if kind is tuple:
        return tuple(map(ascending, key))
    found = _plain(key)
    return key if found is key else ascending(found)


_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND: Final = datetime.timedelta(microseconds=1)


def _plain(key: Any) -> Any:
    """Return what sorts as a date, a time or a scalar of numpy does; anything else as it is."""
    kind = type(key)
    if kind is datetime.datetime and key.tzinfo is not None:
        return (key - _EPOCH) // _MICROSECOND
    if kind in (datetime.datetime, datetime.time) and key.tzinfo is None:
        return key.isoformat(timespec="microseconds")
    if kind is datetime.date:
        return key.isoformat()
    if kind is datetime.timedelta:
        return key // _MICROSECOND
    if kind.__module__ == "numpy" and getattr(key, "ndim", None) == 0:
        return key.item()
    return key


class Descending:
    """A key that sorts in descending order where the shuffle sorts in ascending order."""

    def __call__(self, key: Any) -> Any:
        """Return the key turned around; whatever cannot be a key is returned as it is."""
        kind = type(key)
        if kind in (int, float, bool):
            return ascending(-key)
        if key is None:
            return (True, True)  # behind all tuples
        if kind is tuple:
            # A tuple sorts before the longer ones that begin with it, so its end has to be largest.
            return (*(part for each in key for part in (False, self(each))), True)
        if kind is str:
            key = key.encode("utf-8", "surrogatepass")
        elif kind is not bytes:
            found = _plain(key)
            return key if found is key else self(found)
        # An end mark below all that may follow, and then every bit turned around.
        return (key.replace(b"\0", b"\0\xff") + b"\0\x01").translate(_TURNED)
