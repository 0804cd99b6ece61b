"""Servers that many tests share, since gcloud is slow to load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud import loaded
from tests.cloud.compute.sandbox import Ground, ground, sandbox
from tests.cloud.runner_world import BUCKET, World, cleared, make_hollow_wheels, unpack_pip


@pytest.fixture(scope="session")
def shared_ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A namespace with a loaded gcloud, for all clouds of this process."""
    with ground(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture(scope="session")
def _runner_world(
    tmp_path_factory: pytest.TempPathFactory, shared_ground: Ground
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("runner")
    make_hollow_wheels(folder / "wheels")
    unpack_pip(folder / "pip")
    with sandbox(shared_ground) as made:
        made.storage.store.create_bucket(BUCKET, {"location": "US-CENTRAL1"})
        world = World(made, folder / "wheels", folder / "pip", folder)
        with loaded.runner(world.environment(), made.namespace.started) as world.loaded:
            yield world


@pytest.fixture
def world(_runner_world: World, tmp_path: Path) -> Iterator[World]:
    """A cloud and a bucket with nothing in them, which have to be empty again at the end."""
    _runner_world.folder = tmp_path
    _runner_world.sandbox.cloud.control("calls", "DELETE")
    with cleared(_runner_world) as world:
        yield world
