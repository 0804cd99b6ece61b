"""Calls in threads for what a worker can do without."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import ParamSpec

log = logging.getLogger("mrcore.worker")
P = ParamSpec("P")


async def in_thread(function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call this in a thread; where it fails, a log or a folder is lost and not the worker."""
    try:
        await asyncio.to_thread(function, *args, **kwargs)
    except (OSError, RuntimeError) as error:  # RuntimeError: there can be no more threads
        log.warning("a log or a folder of an attempt is left: %s", error)
