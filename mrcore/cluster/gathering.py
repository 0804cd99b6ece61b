"""`Client.gather`: the values of many calls, in order."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, Literal, TypeAlias, TypeVar

from mrcore.cluster.scattered import Scattered
from mrcore.errors import UsageError
from mrcore.util.texts import printable, text_of

T = TypeVar("T")
Valued: TypeAlias = Future[T] | Scattered[T]


def gather_values(
    futures: Iterable[Valued[T]], errors: Literal["raise", "return", "skip"]
) -> list[T]:
    """Wait for all and return their values; the arguments are those of `Client.gather`."""
    if errors not in ("raise", "return", "skip"):
        raise UsageError('errors is not "raise", "return" or "skip". Give one of the three.')
    given = _checked(futures)
    found: list[Any] = []
    try:
        for future in given:
            try:
                found.append(future.result())
            except Exception as error:
                if errors == "raise":
                    raise
                if errors == "return":
                    found.append(error)
    except KeyboardInterrupt:
        for future in given:
            if isinstance(future, Future):
                future.cancel()
        raise
    return found


def _checked(futures: object) -> list[Any]:
    """Return the futures as a list; raise UsageError for what is not a future."""
    if not isinstance(futures, Iterable):
        raise UsageError(f"gather needs a list of futures. It got {_shown(futures)}.")
    given = list(futures)
    for one in given:
        if not isinstance(one, Future | Scattered):
            raise UsageError(f"gather needs futures. It got {_shown(one)} among them.")
    return given


def _shown(value: object) -> str:
    return printable(text_of(value, repr), 100)
