"""Fixtures for pytest: `mrcore_cluster` is a cluster of two workers, for all tests of a run.

An installation announces this module to pytest; `-p mrcore.testing.fixtures` does it by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mrcore.cluster.local import LocalCluster


@pytest.fixture(scope="session")
def mrcore_cluster() -> Iterator[LocalCluster]:
    """Start a cluster on this machine, and end it after the last test."""
    from mrcore.cluster.local import LocalCluster

    with LocalCluster(workers=2) as cluster:
        yield cluster
