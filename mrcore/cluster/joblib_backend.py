"""A cluster as a back end of joblib: `joblib.parallel_backend("mrcore")`.

mrcore itself does not need joblib: this module is imported where joblib is loaded already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from joblib.parallel import (
    AutoBatchingMixin,
    ParallelBackendBase,
    SequentialBackend,
    register_parallel_backend,
)

from mrcore.cluster.backends import NAME, newest
from mrcore.cluster.futures import CallFuture, LiveFutures
from mrcore.cluster.options import call_options

if TYPE_CHECKING:
    from mrcore.cluster.client import Client


class ClusterBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Back end that runs the batches of a `joblib.Parallel` as calls.

    `client` is the cluster, by default the one that was opened last.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = False
    default_n_jobs = -1

    def __init__(self, client: Client | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self._given = client
        self._live = LiveFutures()

    @property
    def _client(self) -> Client:
        return newest() if self._given is None else self._given

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the number of batches that run at once: the slots for -1, at most `n_jobs`.

        Where that would be 1, two are sent: joblib runs a single one in the program itself.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return max(2, self._client.slots() + 1 + n_jobs) if n_jobs < 0 else n_jobs

    def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> CallFuture[Any]:
        """Call a batch on a worker."""
        future: CallFuture[Any] = self._client.caller.call(func, (), {}, call_options())
        self._live.add(future)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    apply_async = submit

    def retrieve_result_callback(self, out: CallFuture[Any]) -> Any:
        """Return what a batch has returned, or raise what it raised."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel all batches that have not ended."""
        for future in self._live.now():
            future.cancel()

    def get_nested_backend(self) -> tuple[Any, int | None]:
        """Return what a `Parallel` inside a batch uses: one after the other, in its process."""
        return SequentialBackend(nesting_level=1), None


def register() -> None:
    """Make the name known to joblib."""
    register_parallel_backend(NAME, ClusterBackend)
