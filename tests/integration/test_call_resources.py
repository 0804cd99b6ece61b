"""Resources of calls on a real cluster: what does not fit waits, and says so."""

from __future__ import annotations

import os
from pathlib import Path

import mrcore
from mrcore.model.resources import Wanted
from tests.support.waiting import wait_until


def alone(folder: str) -> int:
    """Return how many calls run here at once while this one does."""
    mine = Path(folder) / f"{os.getpid()}-{os.urandom(8).hex()}"
    mine.touch()
    most = max(len(os.listdir(folder)) for _ in range(200))  # noqa: PTH208 - it is fast
    mine.unlink()
    return most


def test_two_calls_of_two_cpus_never_run_at_once_on_a_worker_of_two(tmp_path: Path) -> None:
    with mrcore.LocalCluster(workers=1, slots=2, cpus=2, labels="near") as cluster:
        (worker,) = wait_until(cluster.workers)
        assert (worker.cpus, worker.labels) == (2.0, ("near",))
        needs: Wanted = {"cpu": 2, "labels": {"near"}}
        calls = [cluster.call(alone, str(tmp_path), resources=needs) for _ in range(30)]
        assert {call.result(60) for call in calls} == {1}
        # A call that no worker can run waits, and others go on.
        far = cluster.call(alone, str(tmp_path), resources={"labels": {"far"}})
        wait_until(lambda: any("no worker has the label far" in job.note for job in cluster.jobs()))
        assert cluster.call(len, "abc").result(60) == 3
        assert not far.done()
        assert far.cancel()
