"""Daemons that die, sleep, leave or come back while a job runs, on files and on a bucket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrcore.storage.gcs import GcsStorage
from mrcore.storage.registry import register
from tests.integration.fault_cluster import (
    FILES,
    Cluster,
    Scene,
    gcs_process,
    set_faults,
)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with gcs_process() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        register("gs", GcsStorage)  # in place of one that knows another server
        yield url
        register("gs", GcsStorage)


@pytest.fixture(scope="module", params=["file", "gs"])
def cluster(
    request: pytest.FixtureRequest, server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A cluster for all tests of one kind of store: each start costs a second."""
    folder = tmp_path_factory.mktemp(f"faults-{request.param}")
    with contextlib.ExitStack() as stack:
        found = Cluster(request.param, folder, server, stack)
        found.start_master()
        yield found
        assert found.master.stop() == 0


@pytest.fixture
def scene(cluster: Cluster, tmp_path: Path) -> Iterator[Scene]:
    found = Scene(cluster, tmp_path)
    try:
        yield found
        found.stop_workers()
    finally:
        set_faults(cluster.url)
        found.close()


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
    job_id = scene.submit(phase)
    scene.at_gate(phase, 2)
    scene.cluster.restart_master()
    scene.open_gate()
    job = scene.succeeds(job_id)
    # The new master takes over what the workers hold: nothing runs twice.
    assert scene.runs() == {f"{number}.txt": 1 for number in range(FILES)}
    assert (job.attempts.failed, job.attempts.expired) == (0, 0)
