"""Signals to a daemon: the first drains it, and one that it is to ignore does nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any
from unittest.mock import Mock

import pytest

from mrcore.rpc.server import stop_on_signals
from mrcore.worker.main import _signals


def draining_master(drained: asyncio.Event) -> AbstractAsyncContextManager[Any]:
    """Return what a master does with signals."""
    del drained
    return stop_on_signals()


def draining_worker(drained: asyncio.Event) -> AbstractAsyncContextManager[Any]:
    """Return what a worker does with signals."""
    health = Mock()
    health.drain.side_effect = lambda reason, seconds: drained.set()
    return _signals(health, 1.0, lambda: None)


@pytest.fixture
def ignored() -> Iterator[None]:
    """Be a process that a script has started in the background."""
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("ignored")
@pytest.mark.parametrize("handling", [draining_master, draining_worker])
def test_a_daemon_goes_on_ignoring_what_it_was_started_to_ignore(handling: Any) -> None:
    async def check() -> None:
        drained = asyncio.Event()
        async with handling(drained) as stop:
            # Handlers run in the order of the signals: the first would make the second one end us.
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(10):
                await (stop or drained).wait()

    asyncio.run(check())
