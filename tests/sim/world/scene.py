"""Everything that the people of a simulation share, and the code that is under test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from mrcore.master.core.events import Event, Synced
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.shell.follower import Follower
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.packs import Packs
from mrcore.master.shell.snapshots import Snapshots
from mrcore.model import object_names
from mrcore.rpc.cluster import Leader
from tests.sim.oracles.history import STATE, History
from tests.sim.oracles.outputs import Outputs
from tests.sim.world.store import Store, StoreView
from tests.sim.world.world import World

if TYPE_CHECKING:
    from tests.sim.oracles.machine import Oracle
    from tests.sim.world.jobs import SimJob
    from tests.sim.world.life import Life
    from tests.sim.world.workers import SimWorker

MakeMachine = Callable[[Limits, Random], Machine]


@dataclass(frozen=True, slots=True)
class Parts:
    """The code under test, which mutants replace."""

    machine: MakeMachine = Machine
    journal: type[Journal] = Journal
    snapshots: type[Snapshots] = Snapshots
    packs: type[Packs] = Packs
    follower: type[Follower] = Follower
    encodes_late: bool = False
    """A snapshot is of the state after the append, and not of that before it."""
    packs_early: bool = False
    """A pack is written before its newest entry is durable."""


REAL: Final = Parts()


class Master(Protocol):
    """A master, as workers and clients call it."""

    name: str
    address: str
    life: Life | None
    """Its process, if it has one."""

    def synchronize(self, request: Synced) -> None:
        """Take in a worker's request."""
        ...

    def event(self, event: Event) -> None:
        """Take in the event of a client."""
        ...

    def submit(self, job: SimJob) -> None:
        """Take in a submission."""
        ...

    def answers(self) -> bool:
        """Return whether it answers another master as a leader."""
        ...

    def facts_known(self) -> int | None:
        """Return the number of durable facts that it knows; None where it does not answer."""
        ...


@dataclass(slots=True)
class Scene:
    """Things that all share."""

    world: World
    parts: Parts
    history: History
    outputs: Outputs
    store: Store
    view: StoreView
    check_every: int
    """Steps between two checks of all invariants of a machine."""
    jobs: dict[str, SimJob] = field(default_factory=dict)
    """Jobs by the ids of all of their submissions."""
    workers: dict[str, SimWorker] = field(default_factory=dict)
    masters: dict[str, Master] = field(default_factory=dict)
    """Masters by address."""
    muted_until: float = 0.0
    """Time until which no master reaches another."""
    former: Oracle | None = None
    """Oracle of the newest leader."""
    steps: int = 0
    _announced: tuple[bytes, Master] | None = None

    def announced(self) -> Master | None:
        """Return the master that the leader object names."""
        content = self.store.content(object_names.leader_uri(STATE))
        if content is None:
            return None
        if self._announced is None or self._announced[0] is not content:
            leader = msgspec.json.decode(content, type=Leader)
            self._announced = content, self.masters[leader.address]
        return self._announced[1]
