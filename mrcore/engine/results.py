"""Results of jobs without an output, read from the master that runs them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mrcore.errors import MrcoreError, NotFoundError, UsageError
from mrcore.model.job import JobState
from mrcore.model.snapshots import JobView

if TYPE_CHECKING:
    from mrcore.client.client import MasterClient

MAX_RESULTS_BYTES: Final = 4 << 30
"""Bytes of the results of one job: they all come into the memory of this process."""


class ResultReader:
    """Reader of what the tasks of a job's last stage leave, in the order of the tasks.

    A reader that may stop early reads while the job runs, so that the rest need not run.
    """

    def __init__(self, take: Callable[[bytes], object], *, may_stop: bool = False) -> None:
        """`take` gets each result, and returns true where the caller needs no more."""
        self._take = take
        self._may_stop = may_stop
        self._next = 0
        self._size_bytes = 0
        self.has_enough = False

    def take(self, data: bytes) -> bool:
        """Pass a result on; return whether the caller has enough.

        Raises UsageError once the results are more than a caller's memory should hold.
        """
        self._size_bytes += len(data)
        if self._size_bytes > MAX_RESULTS_BYTES:
            raise UsageError(
                f"The results of the job are larger than {MAX_RESULTS_BYTES >> 30} GiB. Write them "
                "to an output, or return less."
            )
        self.has_enough = bool(self._take(data)) and self._may_stop
        return self.has_enough

    def look(self, client: MasterClient, job: JobView) -> bool:
        """Read what is there by now; return whether the caller has enough.

        Raises NotFoundError where a result of a job that has succeeded is gone: they are kept for
        an hour.
        """
        from mrcore.client.calls import CallClient

        is_over = job.state is JobState.SUCCEEDED
        if not job.stages or not (is_over or self._may_stop):
            return False
        calls, last = CallClient(client.connection), job.stages[-1]
        # The number of completed tasks bounds how far there can be anything.
        while self._next < (last.tasks if is_over else last.completed) and not self.has_enough:
            try:
                data = calls.read_result(job.job_id, self._next)
            except NotFoundError:
                if is_over:
                    raise
                break  # a later task was faster
            self._next += 1
            self.take(data)
        return self.has_enough

    @staticmethod
    def release(client: MasterClient, job_id: str) -> None:
        """Free the results of a job; what cannot be freed now goes with the sweep of the state."""
        from mrcore.client.calls import CallClient

        with contextlib.suppress(MrcoreError):
            CallClient(client.connection).release_results(job_id)
