"""Fixtures that integration tests share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrcore.storage.gcs.store import GcsStorage
from mrcore.storage.registry import register
from tests.support.fault_cluster import Cluster, Scene, gcs_process, set_faults
from tests.support.run_support import Place
from tests.support.waiting import wait_until


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Yield a folder to run `mrcore` in, and check that nothing is left running at the end."""
    found = Place(tmp_path)
    yield found
    try:
        # A child may take a moment to die after its worker.
        wait_until(lambda: not found.processes(), 5.0)
    finally:
        found.kill_all()


@pytest.fixture(scope="module")
def gcs_daemon() -> Iterator[str]:
    with gcs_process() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        register("gs", GcsStorage)  # in place of one that knows another server
        yield url
        register("gs", GcsStorage)


@pytest.fixture(scope="module", params=["file"])
def cluster(
    request: pytest.FixtureRequest, gcs_daemon: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A cluster for all tests of one kind of store: each start costs a second.

    It is a folder, unless a test asks for a bucket, or for both where the store decides what
    happens. A process that uses a bucket imports Google's client, which doubles its CPU time.
    """
    folder = tmp_path_factory.mktemp(f"faults-{request.param}")
    with contextlib.ExitStack() as stack:
        found = Cluster(request.param, folder, gcs_daemon, stack)
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
