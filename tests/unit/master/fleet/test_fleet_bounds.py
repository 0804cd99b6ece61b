"""The fleet's policy, whatever it sees and remembers: no decision breaks a bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mrcore.master.fleet.core.model import (
    Bounds,
    CapacityState,
    Delete,
    Drain,
    FleetSnapshot,
    Grow,
    Member,
    Memory,
)
from mrcore.master.fleet.core.policy import decide
from tests.support.fleet_sights import NOW, SPOT, STANDARD, STOCKOUT, group, info, work

NAMES = [f"m{i}" for i in range(6)]


@st.composite
def snapshots(draw: st.DrawFn) -> FleetSnapshot:
    """Draw anything that could be seen: also what no sane cloud shows."""
    groups = {}
    for model, names in ((SPOT, NAMES[:4]), (STANDARD, NAMES[4:])):
        members = tuple(
            Member(
                name=name,
                action=draw(st.sampled_from(["NONE", "CREATING", "DELETING", "RECREATING"])),
                exists=draw(st.booleans()),
                created_seconds=draw(st.sampled_from([0.0, NOW - 2000, NOW - 5])),
                errors=draw(st.sampled_from([(), (STOCKOUT,)])),
            )
            for name in draw(st.lists(st.sampled_from(names), unique=True))
        )
        groups[model] = group(*members, size=draw(st.integers(0, 6)))
    workers = tuple(
        info(name, draw(st.integers(0, 2)), draining=draw(st.booleans()))
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True))
    )
    jobs = tuple(work(draw(st.integers(1, 40))) for _ in range(draw(st.integers(0, 2))))
    return FleetSnapshot(groups=groups, workers=workers, jobs=jobs)


@st.composite
def memories(draw: st.DrawFn) -> Memory:
    """Draw any memory, of these machines or of others."""
    some = st.lists(st.sampled_from([*NAMES, "gone"]), unique=True)
    times = st.sampled_from([NOW - 5000, NOW - 30, NOW])
    return Memory(
        began_seconds=draw(times),
        worked=draw(st.booleans()),
        capacity={SPOT: CapacityState(failures=draw(st.integers(0, 3)), paused_until=draw(times))},
        last_seen=dict.fromkeys(draw(some), NOW - 2000),
        free={name: draw(times) for name in draw(some)},
        draining=draw(some),
        leaving=draw(some),
        deleted=dict.fromkeys(draw(some), "x"),
        surplus_seconds=draw(st.none() | times),
    )


@given(snapshots(), memories(), st.integers(0, 10))
def test_no_decision_breaks_a_bound(seen: FleetSnapshot, memory: Memory, most: int) -> None:
    bounds = Bounds(max_workers=most, idle_timeout_seconds=None)
    before = repr(memory)
    decision = decide(seen, memory, bounds, NOW)
    assert repr(memory) == before, "a decision changes nothing but its own copy"
    held = {one.machine for one in seen.workers if one.held}
    size = sum(one.size for one in seen.groups.values())
    for action in decision.actions:
        match action:
            case Grow():
                assert action.size > seen.groups[action.model].target_size
                size += action.size - seen.groups[action.model].target_size
                assert size <= most
            case Delete():
                known = {member.name for member in seen.groups[action.model].members}
                assert set(action.names) <= known
                for name in set(action.names) & held:
                    member = next(
                        m for one in seen.groups.values() for m in one.members if m.name == name
                    )
                    # What the cloud says is gone is gone, and what was deleted stays deleted.
                    gone = member.dead or name in memory.deleted or member.coming
                    assert gone, f"{name} holds work"
            case Drain():
                busy = action.machine in held and action.machine not in memory.draining
                assert not busy or memory.capacity[SPOT].paused_until <= NOW
            case _:
                raise AssertionError(f"nothing calls for {action}")
