"""Objects that a table names by place, `package.module:attribute`, and that are imported when used.

A table of back ends or formats is read by every start of a command, which must not import them all.
"""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any


@functools.cache
def load(place: str) -> Any:
    """Return the object at `package.module:attribute`."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
