"""A simulated master: one process after the other, on a machine that stalls and is cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcore.errors import UnavailableError
from mrcore.master.core.events import Event, Synced
from mrcore.storage.faulty import FaultKind
from tests.sim.oracles.history import JOURNAL
from tests.sim.world.life import Life
from tests.sim.world.scene import Scene
from tests.sim.world.world import WALL

if TYPE_CHECKING:
    from tests.sim.world.jobs import SimJob

PROBE_SECONDS = 2.0


class MasterClock:
    """The clock of one master."""

    def __init__(self, scene: Scene) -> None:
        self._timeline = scene.world.timeline
        self.ahead = 0.0
        self.wall_ahead = 0.0

    def monotonic(self) -> float:
        """Return the time, with the jumps of this master."""
        return self._timeline.now + self.ahead

    def wall(self) -> float:
        """Return the time of day as this master has it."""
        return WALL + self._timeline.now + self.wall_ahead

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        process = self._timeline.current
        assert process is not None
        process.wait(seconds)


class SimMaster:
    """A master, through all of its lives."""

    def __init__(self, scene: Scene, number: int) -> None:
        self.scene = scene
        self.world = scene.world
        self.name = f"m{number}"
        self.address = f"m{number}:1"
        self.clock = MasterClock(scene)
        self.life: Life | None = None
        self.lives = 0
        self.is_dead = False
        """The master never comes back."""
        self._boots = 0
        self._cut_until = 0.0
        self.frozen_until = 0.0

    # -- the process -----------------------------------------------------------------------------

    def boot(self) -> None:
        """Start a process, unless one lives."""
        if self.life is not None or self.is_dead:
            return
        self.lives += 1
        self.life = Life(self, f"{self.name}-{self.lives}")

    def crash(self) -> None:
        """Lose the process, with all that is not in the store; another one comes later."""
        if self.life is not None:
            self.world.note(self.name, "crashes")
            self.life.end()

    def gone(self, life: Life) -> None:
        """Take note of the end of a process."""
        assert self.life is life
        self.life = None
        self.frozen_until = 0.0
        self.world.at(self._draw_seconds(0.2, 3.0, 20.0), self.boot)

    def die(self) -> None:
        """Stop for ever."""
        self.crash()
        self.is_dead = True
        self.world.note(self.name, "dies for ever")

    def _draw_seconds(self, *seconds: float) -> float:
        return self.world.scale.draw_seconds(self.world.rng, *seconds)

    # -- chaos -----------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Stop for a while, as SIGSTOP does: nothing is heard, and nothing reaches the store."""
        life, world = self.life, self.world
        if life is None or self.is_frozen:
            return
        seconds = self._draw_seconds(2.0, 12.0, 30.0)
        self.frozen_until = world.now + seconds
        world.note(self.name, "stalls for", seconds, "s")
        ahead = self.clock.ahead

        def wake() -> None:
            if self.life is life:
                self.frozen_until = 0.0
                life.thaw(seconds + self.clock.ahead - ahead)

        world.at(seconds, wake)

    @property
    def is_frozen(self) -> bool:
        """Return whether it is stopped at the moment."""
        return self.world.now < self.frozen_until

    def jump(self) -> None:
        """Let the clocks jump, as on a machine that slept."""
        seconds = self.world.rng.choice((1.0, 60.0, 3_600.0))
        self.clock.ahead += seconds
        self.clock.wall_ahead = self.world.rng.choice((-1e6, 0.0, 1e6))
        self.world.note("the clock of", self.name, "jumps by", seconds, "s")
        if self.life is not None and not self.is_frozen:  # else it is noticed afterwards
            self.life.stalled(seconds)

    def cut_off(self) -> None:
        """Keep it from the store for a while."""
        seconds = self._draw_seconds(2.0, 9.0, 30.0)
        self._cut_until = self.world.now + seconds
        self.world.note(self.name, "is cut off from the store for", seconds, "s")

    def heal(self) -> None:
        """End what keeps it from the store."""
        self._cut_until = 0.0

    # -- calls -----------------------------------------------------------------------------------

    @property
    def leads(self) -> bool:
        """Return whether it takes calls as a leader."""
        return self.life is not None and self.life.shell is not None

    def synchronize(self, request: Synced) -> None:
        """Take in a worker's request, if it leads."""
        self.event(request)

    def event(self, event: Event) -> None:
        """Have an event stepped, if it leads."""
        if self.life is not None and self.life.shell is not None:
            self.life.shell.event(event)

    def submit(self, job: SimJob) -> None:
        """Take in a submission, if it leads."""
        if self.life is not None and self.life.shell is not None and not self.is_frozen:
            self.life.shell.submit(job)

    def facts_known(self) -> int | None:
        """Return the number of durable facts that it knows; None where it does not answer."""
        if self.is_frozen or self.life is None or self.life.shell is None:
            return None
        return self.scene.history.facts_at[self.life.journal.number]

    def answers(self) -> bool:
        """Return whether it answers another master as a leader; that takes a while."""
        world, process = self.world, self.world.timeline.current
        assert process is not None
        if world.now < self.scene.muted_until or self.is_frozen or not self.leads:
            process.wait(0.2 if self.life is None else PROBE_SECONDS)
            return False
        return True

    # -- the store -------------------------------------------------------------------------------

    def operate(self, operation: str, uri: str) -> None:
        """Let an operation of the store take its time, or not arrive."""
        world, process = self.world, self.world.timeline.current
        assert process is not None
        rates, rng = world.rates, world.rng
        appends = operation == "commit" and uri.startswith(JOURNAL)
        if world.chance(rates.store.late if appends and not self.leads else rates.store.slow):
            process.wait(self._draw_seconds(3.0, 15.0, 45.0))
        elif appends:
            process.wait(rng.expovariate(1.0 / rates.flush_seconds))
        elif rates.store.latency_seconds and rng.random() < 0.5:
            process.wait(rng.expovariate(1.0 / rates.store.latency_seconds))
        while self.frozen_until and self.is_frozen:
            process.wait(self.frozen_until - world.now + 0.001)
        if self._cut_until and world.now < self._cut_until:
            process.wait(1.0)
            raise UnavailableError(f"{operation} of {uri} found no network.")

    def fault(self, operation: str) -> FaultKind | None:
        """Draw what goes wrong with an operation that arrives."""
        if self.world.calm:
            return None
        rates = self.world.rates.store
        if operation in ("commit", "publish", "delete") and self.world.chance(rates.lost):
            return FaultKind.AFTER
        return FaultKind.BEFORE if self.world.chance(rates.failed) else None
