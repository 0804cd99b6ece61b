"""Late writers: attempts that may write after their job has ended and was cleaned up.

A worker that was stopped, or cut off, does not know that its attempts are not needed any more. They
go on with it, and write below a prefix that was listed and emptied before. So the job is cleaned up
once more when the worker reports that such an attempt has ended, or is gone. The journal has that
this is due, since this master may end before. A job that failed keeps what its attempts write,
until one that goes on with it has succeeded.

A worker that never reports again may have written, too. The sweep of the state removes that, or
`mrcore gc`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mrcore.master.core.ended import keeps_temporaries
from mrcore.master.core.facts import JobCleaned
from mrcore.model.attempts import AttemptState
from mrcore.model.ids import AttemptId

if TYPE_CHECKING:
    from mrcore.master.core.cluster import Cluster

Listed = Mapping[AttemptId, AttemptState]
"""Attempts that a request of a worker lists."""


def clean_up_after(cluster: Cluster, before: Listed, now: Listed) -> None:
    """Clean up again after ended jobs whose attempts may have written since the last request.

    `before` is what that request has listed, and `now` what this one lists: nothing of a worker
    that is lost. An attempt that was assigned and that neither lists was never taken up.
    """
    live, finished = cluster.jobs, AttemptState.FINISHED
    late = [a for a in now if a.task.job_id not in live and before.get(a) is not finished]
    gone = [
        a
        for a, state in before.items()
        if a.task.job_id not in live and state is not finished and a not in now
    ]
    over = {a.task.job_id for a in (*gone, *late) if now.get(a, finished) is finished}
    for job_id in dict.fromkeys(a.task.job_id for a in (*gone, *late)):
        record = cluster.job(job_id)
        if record is None or keeps_temporaries(record):
            continue
        if record.cleaned:
            cluster.record(JobCleaned(job_id, again=True))
        if job_id in over:
            cluster.clean_up(record)
