"""Objects of the user's code as they are at one moment: their owner may change them afterwards."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from types import NoneType
from typing import Any, Final

from mrcore.errors import DataError
from mrcore.util.texts import text_of

PROTOCOL: Final = 5
SCALARS: Final = frozenset((int, float, str, bytes, bool, NoneType))
"""Types whose values never change."""
PRESENT: Final = SCALARS - {NoneType}


class Pickled(bytes):
    """A value, pickled when it was emitted."""

    __slots__ = ()


class UnpicklableValueError(Exception):
    """The value at `index` of a batch cannot be pickled; carries why."""

    def __init__(self, index: int, cause: str) -> None:
        super().__init__(cause)
        self.index = index


def kept(value: object) -> object:
    """Return a value as it is now: itself if it can never change, else pickled.

    Raises UnpicklableValueError.
    """
    if _unchanging(value):
        return value
    try:
        return Pickled(pickle.dumps(value, PROTOCOL))
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001 - __reduce__ is the user's, and may raise anything
        raise UnpicklableValueError(0, text_of(error)) from None


def _unchanging(value: object) -> bool:
    kind = type(value)
    if kind is tuple:
        assert isinstance(value, tuple)
        return SCALARS.issuperset(map(type, value)) or all(map(_unchanging, value))
    return kind in SCALARS or kind is Pickled


def thawed(value: Any) -> Any:
    """Return a copy of a value that `kept` has pickled, any other as it is; raise DataError."""
    if type(value) is not Pickled:
        return value
    try:
        return pickle.loads(value)
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise unpicklable_error(error) from error


def thawed_list(values: Sequence[Any]) -> Sequence[Any]:
    """Return values with copies of those that were pickled; raise DataError."""
    return list(map(thawed, values)) if Pickled in set(map(type, values)) else values


def unpicklable_error(error: BaseException) -> DataError:
    """Return the error for a value that was pickled and cannot be made again."""
    what = f"{type(error).__qualname__}: {text_of(error)}".rstrip(": ")
    return DataError(
        f"a value that was emitted cannot be unpickled ({what}): emit plain data, or mend its class"
    )
