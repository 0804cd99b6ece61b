"""The policy against a small cloud with preemptions, stockouts and lost calls, by seed."""

from __future__ import annotations

from random import Random

import pytest

from mrcore.master.fleet.core.model import Bounds, Provisioning
from tests.support.fleet_world import START, Faults, World

SEEDS = 60
DAY_STEPS = 12 * 60 * 12
"""Steps of five seconds each: half a day."""


def scenario(seed: int) -> World:
    """Return a world whose bounds, faults and work are all drawn from the seed."""
    rng = Random(seed)
    most = rng.randint(1, 12)
    bounds = Bounds(
        max_workers=most,
        min_workers=rng.choice([0, 0, 0, 1]),
        deadline_seconds=rng.choice([None, None, 3600.0]),
        idle_timeout_seconds=rng.choice([300.0, 900.0]),
        spot_attempts=rng.randint(1, 4),
    )
    faults = Faults(
        preempted_per_hour=rng.choice([0.0, 1.0, 4.0]),
        failed_joins=rng.choice([0.0, 0.0, 0.2]),
        lost_calls=rng.choice([0.0, 0.0, 0.2]),
        code=rng.choice(["ZONE_RESOURCE_POOL_EXHAUSTED", "QUOTA_EXCEEDED"]),
        stockouts={
            model: [(first, first + rng.uniform(60, 3600))]
            for model in Provisioning
            for first in [rng.choice([0.0, rng.uniform(0, 3600), 1e9])]
        },
    )
    sizes = {Provisioning.SPOT: rng.randint(0, most), Provisioning.STANDARD: 0}
    return World(rng, bounds, faults=faults, slots=rng.choice([1, 2, 4]), sizes=sizes)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_work_is_done_within_bounds_and_nothing_is_left(first: int) -> None:
    for seed in range(first, first + 20):
        run(seed)


def run(seed: int) -> World:
    world = scenario(seed)
    rng = world.rng
    arrivals = sorted(rng.uniform(0, 3600) for _ in range(rng.randint(0, 3)))
    restart_at = rng.choice([None, START + rng.uniform(100, 3000)])
    for _ in range(DAY_STEPS):
        if arrivals and world.now - START >= arrivals[0]:
            arrivals.pop(0)
            tasks = [rng.uniform(1, 600) for _ in range(rng.randint(1, 100))]
            world.submit(f"job-{len(arrivals)}", tasks)
        if restart_at is not None and world.now >= restart_at:
            restart_at = None
            world.restart()
        world.step()
        assert world.existing() <= world.bounds.max_workers, (seed, "above max-workers")
        if world.ended:
            break
    assert world.ended, (seed, "the cluster did not end")
    assert not world.jobs, (seed, "ended with work")
    assert not world.machines, (seed, "machines left")
    assert not world.targets, (seed, "groups left")
    return world


@pytest.mark.slow
def test_machines_do_not_come_and_go_without_a_reason() -> None:
    for seed in range(20):
        rng = Random(seed)
        most = rng.randint(2, 10)
        world = World(rng, Bounds(max_workers=most, idle_timeout_seconds=300.0))
        world.submit("steady", [rng.uniform(100, 200) for _ in range(most * 20)])
        while not world.ended:
            world.step()
        assert world.made == most, seed
