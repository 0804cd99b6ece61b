"""The bare loops that nearly every pair of a job with a combiner goes through.

Both take pairs whose keys so far have all been `str` (or all `bytes`). These are equal to nothing
of another type, so a foreign key is always a new one, and types need a look only where one is new.
So does the pair, but for a str: "ab" is none, though it can be unpacked, and "a" may be known.
Values other than numbers and short texts are left to the caller, since they may be large, or
change later.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NoReturn

from mrcore.shuffle.keys import KeyTypes
from mrcore.shuffle.user_code import FIXED_SIZES, USER_EXCEPTIONS, UserCodeError, check_pair

SHORT_CHARACTERS: Final = 32
"""Longest text that the loop takes as a value."""
_NOTHING_YET: Final = object()


def append_values(
    pairs: Iterator[Any],
    groups: dict[Any, list[Any]],
    kind: type,
    types: KeyTypes,
    *,
    function: str,
    counts_values: bool,
    takes_texts: bool,
) -> Any:
    """Append the value of each pair to the list of its key; return the first foreign pair.

    `function` is the name of the function that emits them. With `counts_values` each value counts
    as 1, and with `takes_texts` short texts are taken. Raises UserCodeError and KeyTypeError.
    """
    get = groups.get
    text = str if takes_texts else None
    pair: Any = _NOTHING_YET
    try:
        for pair in pairs:
            key, value = pair
            if counts_values:
                value = 1
            elif type(value) is text:
                if len(value) > SHORT_CHARACTERS:
                    return pair
            elif type(value) not in FIXED_SIZES:
                return pair
            found = get(key)
            if found is not None and type(pair) is not str:
                found.append(value)
            elif type(key) is kind and type(pair) is tuple:
                groups[key] = [value]
            else:
                return pair
    except USER_EXCEPTIONS as error:
        _blame(function, error, pair, types)
    return None


def count_keys(
    pairs: Iterator[Any],
    counts: dict[Any, int],
    same: Any,
    kind: type,
    types: KeyTypes,
    *,
    function: str,
    counts_values: bool,
) -> Any:
    """Count the key of each pair while the value is the object `same`; return the first other pair.

    With `counts_values` the value may be any. Raises UserCodeError and KeyTypeError.
    """
    get = counts.get
    pair: Any = _NOTHING_YET
    try:
        for pair in pairs:
            key, value = pair
            if value is not same and (type(pair) is str or not counts_values):
                return pair
            count = get(key)
            if count is not None:
                counts[key] = count + 1
            elif type(key) is kind and type(pair) is tuple:
                counts[key] = 1
            else:
                return pair
    except USER_EXCEPTIONS as error:
        _blame(function, error, pair, types)
    return None


def add_values(
    pairs: Iterator[Any],
    totals: dict[Any, int],
    kind: type,
    types: KeyTypes,
    *,
    function: str,
) -> tuple[int, Any]:
    """Add the value of each pair to the total of its key while the values are ints.

    Return how many pairs were taken, and the first other one or None. Raises UserCodeError and
    KeyTypeError.
    """
    get = totals.get
    pair: Any = _NOTHING_YET
    taken = 0
    try:
        for pair in pairs:
            key, value = pair
            if type(value) is not int:
                return taken, pair
            total = get(key)
            if total is not None:
                totals[key] = total + value
            elif type(key) is kind and type(pair) is tuple:
                totals[key] = value
            else:
                return taken, pair
            taken += 1
    except USER_EXCEPTIONS as error:
        _blame(function, error, pair, types)
    return taken, None


def _blame(function: str, error: BaseException, pair: Any, types: KeyTypes) -> NoReturn:
    """Raise the error for a pair that is not one, for its key, or for what the function raised."""
    if isinstance(error, UserCodeError):
        raise error
    if pair is not _NOTHING_YET:
        check_pair(function, pair)
        types.check([pair[0]])  # a list, say, cannot be a key of a dict
    raise UserCodeError.raised(function, error) from error
