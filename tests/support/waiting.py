"""Waiting for a condition that no event announces: what a process, a file or a cloud shows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

WAIT_SECONDS: Final = 40.0
PAUSE_SECONDS: Final = 0.02


def wait_until(
    condition: Callable[[], T],
    seconds: float = WAIT_SECONDS,
    *,
    what: str = "",
    details: Callable[[], str] | None = None,
    pause_seconds: float = PAUSE_SECONDS,
) -> T:
    """Return the first true result of `condition`; fail if there is none within `seconds`.

    `what` names the condition in the failure, and `details` adds text to it.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() >= end:
            more = f"\n{details()}" if details is not None else ""
            raise AssertionError(f"not true within {seconds:g} s: {what or condition}{more}")
        time.sleep(pause_seconds)
    return found


async def wait_until_in_thread(
    condition: Callable[[], object], seconds: float = WAIT_SECONDS, *, pause_seconds: float
) -> None:
    """Wait in an event loop, calling a blocking `condition` in a thread; raise TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - a cloud sends no event
            await asyncio.sleep(pause_seconds)
