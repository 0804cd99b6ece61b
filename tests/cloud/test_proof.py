"""The proof of the deployment, in its short form, as `scripts/cloudtest --short` gives it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cloud.machines.cloud import REPOSITORY
from tests.cloud.machines_by_hand import skip_without_cloud

CANNOT = 77


@contextmanager
def proof() -> Iterator[subprocess.Popen[str]]:
    """Start it; have it put everything away if the test ends first."""
    with subprocess.Popen(
        [REPOSITORY / "scripts" / "cloudtest", "--short"],
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


@pytest.mark.proof
@pytest.mark.timeout(840)
def test_a_cluster_lives_through_losses_and_leaves_nothing() -> None:
    skip_without_cloud()
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed: see https://cloud.google.com/sdk/docs/install.")
    with proof() as running:
        told, _ = running.communicate(timeout=800)
    if running.returncode == CANNOT:
        pytest.skip(told.splitlines()[-1])
    assert running.returncode == 0, told
    assert "nothing is left" in told
