"""On-demand machines that give way to spot ones: when they stay, and how many go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mrcore.master.fleet.core.model import (
    Action,
    Bounds,
    CapacityState,
    Drain,
    FleetSnapshot,
    Grow,
    Memory,
)
from mrcore.master.fleet.core.policy import decide
from tests.support.fleet_sights import (
    BOUNDS,
    NOW,
    SPOT,
    STANDARD,
    WORKED,
    creating,
    group,
    info,
    snapshot,
    up,
    work,
)

PAUSED = CapacityState(paused_until=NOW + 100)


def memory(**known: Any) -> Memory:
    """Return the memory of a cluster that has worked."""
    return Memory(began_seconds=1, worked=True, **known)


def actions(seen: FleetSnapshot, known: Memory = WORKED, bounds: Bounds = BOUNDS) -> list[Action]:
    return decide(seen, known, bounds, NOW).actions


RETURNING = memory(capacity={SPOT: CapacityState(paused_until=NOW - 100)})
PAIR = group(up("a"), up("b"))
BUSY = (info("a", 2), info("b", 2))


def test_on_demand_machines_stay_while_spot_is_paused() -> None:
    seen = snapshot(None, PAIR, workers=BUSY, jobs=(work(4),))
    assert actions(seen, memory(capacity={SPOT: PAUSED})) == []


def test_on_demand_machines_stay_while_a_spot_machine_is_on_its_way() -> None:
    for spot in (group(creating("n")), group(size=1), group(up("n", NOW - 50))):
        seen = snapshot(spot, PAIR, workers=BUSY, jobs=(work(6),))
        assert actions(seen, RETURNING) == []


def test_on_demand_machines_stay_while_another_one_still_drains() -> None:
    known = memory(capacity=RETURNING.capacity, draining=["c"])
    workers = (*BUSY, info("c", 1, draining=True), info("n", 2))
    dear = group(up("a"), up("b"), up("c"))
    seen = snapshot(group(up("n", NOW - 50)), dear, workers=workers, jobs=(work(6),))
    assert actions(seen, known) == []


def test_on_demand_machines_of_the_minimum_give_way_without_a_job() -> None:
    bounds, idle = replace(BOUNDS, min_workers=2), (info("a"), info("b"))
    expected = [Drain("a-0", "a"), Grow(SPOT, 1)]
    assert actions(snapshot(None, PAIR, workers=idle), RETURNING, bounds) == expected
    # Where nobody asks for a minimum they are surplus: none is exchanged, and soon they go.
    assert actions(snapshot(None, PAIR, workers=idle), RETURNING) == []


def test_on_demand_machines_stay_while_workers_are_missing() -> None:
    seen = snapshot(None, PAIR, workers=BUSY, jobs=(work(8),))
    assert actions(seen, RETURNING) == [Grow(SPOT, 2)]


def test_spot_machines_from_before_the_pause_do_not_speed_up_the_return() -> None:
    workers = (*BUSY, info("s", 2), info("t", 2))
    seen = snapshot(group(up("s"), up("t")), PAIR, workers=workers, jobs=(work(8),))
    assert actions(seen, RETURNING) == [Drain("a-0", "a"), Grow(SPOT, 3)]


def test_an_on_demand_machine_that_boots_is_not_drained() -> None:
    dear = group(up("a"), up("b", NOW - 50))
    seen = snapshot(None, dear, workers=BUSY[:1], jobs=(work(4),))
    assert actions(seen, RETURNING) == [Drain("a-0", "a"), Grow(SPOT, 1)]


def test_one_of_the_groups_may_be_missing() -> None:
    seen = FleetSnapshot(groups={STANDARD: PAIR}, workers=BUSY, jobs=(work(2),))
    assert actions(seen, RETURNING) == []
