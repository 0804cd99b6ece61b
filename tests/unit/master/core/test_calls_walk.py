"""Clients, workers and masters that come and go: every call ends once, and all comes to rest."""

from __future__ import annotations

from random import Random

import pytest

from tests.support.call_walk import Walk


@pytest.mark.parametrize("seed", range(15))
def test_every_call_ends_once_and_all_comes_to_rest(seed: int) -> None:
    walk = Walk(Random(seed))
    walk.go(150)
    assert walk.replayed() == walk.machine.cluster.durable
    walk.come_to_rest()
    assert walk.replayed() == walk.machine.cluster.durable
    assert not walk.machine.calls.missing
    assert not walk.machine.calls.takers
