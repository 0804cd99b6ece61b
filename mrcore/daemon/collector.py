"""Garbage collection in daemons, whose objects mostly live long."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Final

_THRESHOLDS: Final = (5_000, 200, 50)
"""Collections look at what was made since the last ones, and seldom at all there is. A master makes
objects for each task and keeps them, and Python's own thresholds had it look at all of them again
and again: a quarter of its time with ten thousand calls in flight. gRPC leaves six objects in a
cycle for each call that is answered, so the youngest are looked at before these take megabytes."""


def collect_rarely() -> None:
    """Leave alone what the imports have made, and look rarely at the rest."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


@contextlib.contextmanager
def collecting_later() -> Iterator[None]:
    """Collect nothing while a large state is read, which takes half of the time else."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def keep_all() -> None:
    """Leave alone what there is by now: it lives as long as this process, or has no cycles."""
    gc.freeze()
