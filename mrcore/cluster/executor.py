"""A cluster as a `concurrent.futures.Executor`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from mrcore.cluster.futures import CallFuture, LiveFutures
from mrcore.cluster.options import call_options
from mrcore.errors import MrcoreError
from mrcore.util.clock import SYSTEM

if TYPE_CHECKING:
    from mrcore.cluster.client import Client

T = TypeVar("T")


class ClusterExecutor(futures.Executor):
    """Executor whose functions run on a cluster, for code that takes one.

    All keyword arguments of `submit` go to the function: retries and resources are options of
    `Client.call` alone.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._live = LiveFutures()
        self._is_shut = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> CallFuture[T]:
        """Call a function on a worker; raise RuntimeError after `shutdown`."""
        self._check()
        future = self._client.caller.call(fn, args, kwargs, call_options())
        self._live.add(future)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Call a function for each item and return an iterator over the results, in order.

        The iterables are read at once. With `buffersize` only so far that this number of calls is
        ahead of the results that were drawn. TimeoutError is raised `timeout` seconds after this
        call.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or >= 1.")
        begun = SYSTEM.monotonic()
        items = zip(*iterables, strict=False)
        made = deque(self.submit(fn, *each) for each in islice(items, buffersize))

        def results() -> Iterator[T]:
            try:
                while made:
                    made.extend(self.submit(fn, *each) for each in islice(items, 1))
                    yield _result_of(made.popleft(), timeout, begun)
            finally:
                for future in made:
                    future.cancel()

        return results()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; wait for those that were made, or cancel them. The cluster stays."""
        self._is_shut = True
        live = self._live.now()
        if cancel_futures:
            for future in live:
                if not future.running():
                    future.cancel()
        if wait:
            futures.wait(live)

    def _check(self) -> None:
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        try:
            self._client.check_open()
        except MrcoreError as error:
            raise RuntimeError(f"cannot schedule new futures: {error}") from error


def _result_of(future: CallFuture[T], timeout: float | None, begun: float) -> T:
    """Return the result of a call; raise TimeoutError `timeout` seconds after `begun`."""
    try:
        if timeout is not None:
            # What the function raises is returned here, so a TimeoutError is that of the wait.
            try:
                future.exception(timeout - (SYSTEM.monotonic() - begun))
            except TimeoutError:
                raise future.late(timeout) from None
        return future.result()
    finally:
        future.cancel()
        del future  # the traceback of its exception refers to this frame
