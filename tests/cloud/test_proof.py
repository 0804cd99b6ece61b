"""The proof of the deployment, story by story, as `scripts/cloudtest` plays them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cloud.compute.sandbox import HAS_GCLOUD, NO_GCLOUD
from tests.cloud.machines.cloud import REPOSITORY
from tests.cloud.machines_by_hand import skip_without_cloud
from tests.cloud.proof.losses import Short
from tests.cloud.proof.stories import ALL

CANNOT = 77


@contextmanager
def proof(story: str) -> Iterator[subprocess.Popen[str]]:
    """Start it; have it put everything away if the test ends first."""
    with subprocess.Popen(
        [REPOSITORY / "scripts" / "cloudtest", f"--story={story}"],
        cwd=REPOSITORY,
        env={**os.environ, "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.send_signal(signal.SIGTERM)


@pytest.mark.timeout(3640)
@pytest.mark.parametrize(
    "story", [Short.name, *(pytest.param(name, marks=pytest.mark.proof) for name in ALL)]
)
def test_a_cluster_lives_through_it_and_leaves_nothing(story: str) -> None:
    skip_without_cloud()
    if not HAS_GCLOUD:
        pytest.skip(NO_GCLOUD)
    with proof(story) as running:
        told, _ = running.communicate(timeout=3600)
    if running.returncode == CANNOT:
        pytest.skip(told.splitlines()[-1])
    assert running.returncode == 0, told
    assert "nothing is left" in told
