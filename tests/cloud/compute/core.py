"""State that all parts of the cloud share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from mrcore.util.clock import Clock
from tests.cloud.compute.access import Access
from tests.cloud.compute.faults import Faults
from tests.cloud.compute.machines import Addresses, Machines
from tests.cloud.compute.operations import Operations
from tests.cloud.compute.quotas import Quotas
from tests.cloud.compute.store import Store

_logger = logging.getLogger(__name__)

STOP_GRACE_SECONDS = 90.0
PREEMPT_GRACE_SECONDS = 30.0


class CloudTime:
    """Seconds since 1970 in the cloud: those of the machine, and what a test has added."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = 0.0

    def now(self) -> float:
        return self._clock.wall() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds


class Background:
    """Tasks that belong to the cloud and end with it; one that fails is logged."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("a task of the cloud has failed", exc_info=error)

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Core:
    """The state of the cloud and the hands that change it."""

    time: CloudTime
    store: Store
    operations: Operations
    access: Access
    faults: Faults
    quotas: Quotas
    machines: Machines
    addresses: Addresses
    background: Background = field(default_factory=Background)
    stop_grace_seconds: float = STOP_GRACE_SECONDS
    preempt_grace_seconds: float = PREEMPT_GRACE_SECONDS
    retry_seconds: float = 1.0
    """Pause of a managed group before it tries again to make a VM."""

    @property
    def agent(self) -> str:
        """The e-mail address of the account as which managed groups make VMs."""
        return f"{self.store.number}@cloudservices.gserviceaccount.com"
