"""Forecast of the attempts that end before their worker has to go."""

from __future__ import annotations

import pytest

from mrcore.worker.core.pace import can_finish


@pytest.mark.parametrize(
    ("elapsed", "fraction", "left", "expected"),
    [
        (10.0, 0.9, 5.0, True),
        (10.0, 0.5, 5.0, False),
        (0.5, 0.0, 22.0, True),
        (1.0, 0.0, 22.0, False),
        (3.0, 0.0, 90.0, True),
        (15.0, 0.0, 90.0, False),
        (5.0, 1.0, 0.5, True),
        (0.1, 0.0, -3.0, False),
    ],
)
def test_who_can_finish(elapsed: float, fraction: float, left: float, expected: bool) -> None:
    assert can_finish(elapsed, fraction, left) is expected
