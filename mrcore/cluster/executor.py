"""A cluster as a `concurrent.futures.Executor`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import TYPE_CHECKING, Any, TypeVar

from mrcore.cluster.futures import CallFuture
from mrcore.cluster.options import call_options
from mrcore.errors import MrcoreError

if TYPE_CHECKING:
    from mrcore.cluster.client import Client

T = TypeVar("T")


class ClusterExecutor(futures.Executor):
    """Runs functions on a cluster, for code that takes an executor.

    All keyword arguments of `submit` go to the function: retries and resources are options of
    `Client.call` alone.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._live: set[CallFuture[Any]] = set()
        self._is_shut = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> CallFuture[T]:
        """Call a function on a worker; raise RuntimeError after `shutdown`."""
        self._check()
        future = self._client.caller.call(fn, args, kwargs, call_options())
        with self._lock:
            self._live.add(future)
        future.add_done_callback(self._forget)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]:
        """Call a function for each item and return an iterator over the results, in order.

        The iterables are read at once. TimeoutError is raised `timeout` seconds after this call.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        return super().map(fn, *iterables, timeout=timeout, chunksize=chunksize)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; wait for those that were made, or cancel them. The cluster stays."""
        with self._lock:
            self._is_shut = True
            live = list(self._live)
        if cancel_futures:
            for future in live:
                if not future.running():
                    future.cancel()
        if wait:
            futures.wait(live)

    def _check(self) -> None:
        with self._lock:
            if self._is_shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
        try:
            self._client.check_open()
        except MrcoreError as error:
            raise RuntimeError(f"cannot schedule new futures: {error}") from error

    def _forget(self, future: futures.Future[Any]) -> None:
        with self._lock:
            self._live.discard(future)
