"""Garbage collection in daemons, whose objects mostly live long."""

from __future__ import annotations

import gc
from typing import Final

_THRESHOLDS: Final = (50_000, 20, 50)
"""Collections look at what was made since the last ones, and seldom at all there is. A master makes
objects for each task and keeps them, and Python's own thresholds had it look at all of them again
and again: a quarter of its time with ten thousand calls in flight."""


def collect_rarely() -> None:
    """Leave alone what the imports have made, and look rarely at the rest."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
