"""The world of one simulation: time, chance, the network between its people, and its log."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.sim.world.plots import with_plot
from tests.sim.world.rates import Rates, Scale
from tests.sim.world.timeline import Timeline

WALL = 1.7e9
"""Time of day at which each simulation begins."""


class World:
    """Time, chance and the network. Every draw comes from the seed's generator."""

    def __init__(self, seed: int, *, is_logged: bool) -> None:
        self.seed = seed
        self._is_logged = is_logged
        self.rng = Random(seed)
        scale, rates = Scale.draw(self.rng), Rates.draw(self.rng)
        self.scale, self.rates = with_plot(seed, scale, rates)
        self.timeline = Timeline()
        self.at = self.timeline.after
        self.calm = False
        """The chaos is over: nothing fails by chance any more."""
        self.calm_at = 0.0
        """Time at which it ended."""
        self._log: list[tuple[float, tuple[object, ...]]] = []
        self._cuts: dict[tuple[str, str], float] = {}
        """(from, to): until when nothing passes."""

    @property
    def now(self) -> float:
        """Return the time."""
        return self.timeline.now

    def note(self, *parts: object) -> None:
        """Log something that happened; it is written down only if somebody reads the log."""
        if self._is_logged:
            self._log.append((self.timeline.now, parts))

    def log(self) -> list[str]:
        """Return what happened, a line each."""
        return [f"{at:.4f} {' '.join(map(str, parts))}" for at, parts in self._log]

    def chance(self, probability: float) -> bool:
        """Draw whether a fault strikes; never once it is calm."""
        return probability > 0.0 and not self.calm and self.rng.random() < probability

    def send(self, source: str, target: str, deliver: Callable[[], None]) -> None:
        """Pass a message on: late, twice, out of order, or never."""
        if self.is_cut(source, target) or self.chance(self.rates.drop):
            return
        for _ in range(2 if self.chance(self.rates.duplicate) else 1):
            mean = 0.01 if self.calm else self.rates.delay_seconds
            self.at(self.rng.expovariate(1.0 / mean), deliver)

    def cut(self, source: str, target: str, seconds: float) -> None:
        """Let nothing pass in one direction for a while."""
        self._cuts[source, target] = self.now + seconds
        self.note("cut", source, "->", target, "for", seconds, "s")

    def is_cut(self, source: str, target: str) -> bool:
        """Return whether nothing passes in one direction."""
        return self._cuts.get((source, target), 0.0) > self.now

    def heal(self) -> None:
        """End the chaos."""
        self.calm = True
        self.calm_at = self.now
        self._cuts.clear()
        self.note("calm")
