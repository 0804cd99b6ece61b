"""Placeholders among the arguments of a call, for values that do not travel with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Need:
    """The value of another call, by its number among the `needs` of this one."""

    number: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored object that holds a pickled value, by its SHA-256."""

    sha256: str


Reference = Need | Stored
Refer = Callable[[object], Reference | None]
"""Returns the placeholder for an object among arguments; None where the object itself travels."""
Resolve = Callable[[Reference], object]
"""Returns the value that a placeholder stands for."""


def itself(value: object) -> object:
    """Return the value: a future whose value is known is pickled as a call of this."""
    return value
