"""A client of calls whose service is in the process of the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.call_house import Desk


@pytest.fixture
def desk() -> Iterator[Desk]:
    found = Desk()
    yield found
    found.calls.close()
    found.house.stop()
