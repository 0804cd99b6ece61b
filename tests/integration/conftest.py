"""What integration tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.run_support import Place, wait_until


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Give a folder to run `mrcore` in, and check that nothing is left running at the end."""
    found = Place(tmp_path)
    yield found
    try:
        # A child may take a moment to die after its worker.
        wait_until(lambda: not found.processes(), 5.0)
    finally:
        found.kill_all()
