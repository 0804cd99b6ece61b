"""Results of jobs without an output, read from the master that has run them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from mrcore.errors import UsageError
from mrcore.model.snapshots import JobView

if TYPE_CHECKING:
    from mrcore.client.client import MasterClient

MAX_RESULTS_BYTES: Final = 4 << 30
"""Bytes of the results of one job: they all come into the memory of this process."""


def read_results(client: MasterClient, job: JobView) -> Iterator[bytes]:
    """Yield what each task of the last stage has left, in order.

    Raises NotFoundError where a result is gone: they are kept for an hour.
    """
    from mrcore.client.calls import CallClient

    calls = CallClient(client.connection)
    return bounded(calls.read_result(job.job_id, index) for index in range(job.stages[-1].tasks))


def bounded(results: Iterator[bytes]) -> Iterator[bytes]:
    """Yield results; raise UsageError once they are more than a caller's memory should hold."""
    size = 0
    for data in results:
        size += len(data)
        if size > MAX_RESULTS_BYTES:
            raise UsageError(
                f"The results of the job are larger than {MAX_RESULTS_BYTES >> 30} GiB. Write them "
                "to an output, or return less."
            )
        yield data


def store_items(client: MasterClient, data: bytes) -> str:
    """Store the items of an in-memory job with the cluster, and return their place."""
    from mrcore.client.calls import CallClient

    return CallClient(client.connection).put(hashlib.sha256(data).hexdigest(), data)
