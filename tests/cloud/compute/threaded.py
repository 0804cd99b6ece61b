"""The cloud in a thread of its own, for tests that are not asynchronous."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tests.cloud.compute.http import answer
from tests.cloud.compute.machines import MemoryMachines
from tests.cloud.compute.server import ComputeServer
from tests.gcsserver.wire import Request
from tests.support.waiting import wait_until

T = TypeVar("T")

POLL_SECONDS = 0.01
PATIENCE_SECONDS = 240.0


class ThreadedCloud:
    """A cloud whose loop runs in another thread, and whose machines run nothing."""

    def __init__(self, listener: socket.socket | None = None, **options: Any) -> None:
        self.machines = MemoryMachines()
        self.server = ComputeServer(self.machines, listener=listener, **options)
        self.url = self.server.url
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()

    async def serve(self, ready: Callable[[], None]) -> None:
        async with self.server:
            ready()
            await self._stop.wait()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve until the end of the block."""
        ready = threading.Event()
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            thread = threading.Thread(target=runner.run, args=(self.serve(ready.set),))
            thread.start()
            ready.wait()
            try:
                yield
            finally:
                self._loop.call_soon_threadsafe(self._stop.set)
                thread.join()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop of the cloud, and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def look(self, function: Callable[[], T]) -> T:
        """Return what a function returns that is called in the loop of the cloud."""

        async def run() -> T:
            return function()

        return self.call(run())

    def control(self, verb: str, http: str = "POST", /, **body: Any) -> Any:
        """Do what a request to `/_cloud/VERB` does; raise ValueError where it is refused."""
        request = Request.parse(http, f"/_cloud/{verb}", {}, json.dumps(body).encode(), self.url)
        response = self.call(answer(self.server.control.answer, request))
        result = json.loads(response.body)
        if response.status != 200:
            raise ValueError(result["error"]["message"])
        return result

    def calls(self, method: str = "") -> list[dict[str, Any]]:
        """Return the API calls so far, or those of one method, as `compute.instances.insert`."""
        return [c for c in self.control("calls", "GET") if method in ("", c["method"])]

    def made(self) -> list[str]:
        """Return the path of every resource that somebody has made and that is still there."""
        return list(self.control("state", "GET"))

    def until(self, function: Callable[[], T | None]) -> T:
        """Return the first true thing that a function returns, asked again and again.

        Raises AssertionError where that takes longer than minutes.
        """
        found = wait_until(function, PATIENCE_SECONDS, pause_seconds=POLL_SECONDS)
        assert found is not None
        return found

    def resource(self, path: str) -> dict[str, Any] | None:
        """Return a resource by its path, as `zones/Z/instances/NAME`; None where there is none."""
        found = self.look(lambda: self.server.core.store.find(path))
        return None if found is None else dict(found)


@contextmanager
def running(listener: socket.socket | None = None, **options: Any) -> Iterator[ThreadedCloud]:
    """Serve a cloud on a loopback port, or on a listener, until the end of the block.

    The options are those of ComputeServer.
    """
    cloud = ThreadedCloud(listener, **options)
    with cloud.running():
        yield cloud
