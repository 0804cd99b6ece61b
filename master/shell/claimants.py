"""Jobs that hold claims: whether one has ended for good.

Submissions and the simulator share it: both wait for the same facts before a claim is taken over.
"""

from __future__ import annotations

from collections.abc import Callable

from mrcore.errors import UnavailableError
from mrcore.master.core.cluster import Cluster


def has_ended(
    cluster: Cluster, job_id: str, wait_flushed: Callable[[], None], is_fenced: Callable[[], bool]
) -> bool:
    """Return whether a job that holds a claim has ended for good; blocks.

    `wait_flushed` returns once all that the machine knows is durable. Raises UnavailableError where
    another master leads.
    """
    job = cluster.job(job_id)
    if job is not None and not job.state.final:
        return False
    # The machine knows of an end before the journal does. A master that dies between the two leaves
    # a job that goes on, and whose output would have a second one.
    wait_flushed()
    # A job that the journal does not know was never accepted: its master died while it claimed.
    # Or it is the live job of a master that has replaced this one, which is looked up last: who
    # made the claim had its entry in the journal before.
    if is_fenced():
        raise UnavailableError(
            "Another master has taken over this state. Submit the job to that one."
        )
    return True
