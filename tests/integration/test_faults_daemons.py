"""Daemons that die or come back while a job runs."""

from __future__ import annotations

import pytest

from tests.support.fault_cluster import FILES, Scene

pytestmark = pytest.mark.xdist_group("faults of daemons")  # one cluster for all


@pytest.mark.parametrize("phase", ["map", "reduce"])
def test_a_worker_that_is_killed(scene: Scene, phase: str) -> None:
    victim, _ = scene.worker(), scene.worker()
    job_id = scene.submit(phase)
    scene.at_gate(phase, 2)
    victim.kill()
    scene.open_gate()
    job = scene.succeeds(job_id)
    assert job.attempts.expired >= 1
    assert job.attempts.failed == 0


@pytest.mark.parametrize("phase", ["map", "reduce"])
def test_a_master_that_is_killed_and_started_again(scene: Scene, phase: str) -> None:
    scene.worker(), scene.worker()
    # A worker that is slow to call again must not lose its lease.
    job_id = scene.submit(phase, lease=10.0)
    scene.at_gate(phase, 2)
    scene.cluster.restart_master()
    scene.open_gate()
    job = scene.succeeds(job_id)
    # The new master takes over what the workers hold: nothing runs twice.
    assert scene.runs() == {f"{number}.txt": 1 for number in range(FILES)}
    assert (job.attempts.failed, job.attempts.expired) == (0, 0)
