"""Plots: worlds in which events meet that need each other, and rarely meet by chance.

One seed in `PLOT_EVERY` has a plot, each of them in turn, and some of them twice. It replaces
numbers and rates that the seed has drawn, and leaves the other seeds as they are. Most plots need
more tasks than slots, jobs of several stages, or several clients, which small worlds lack.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from tests.sim.world.rates import Rates, Scale, Size

PLOT_EVERY: Final = 8

Choices = dict[str, tuple[Any, ...]]
"""Values of each field, of which one is drawn."""


@dataclass(frozen=True, slots=True)
class Plot:
    """Fields of a world with the values that they may have; the seed draws the others."""

    name: str
    scale: Choices
    rates: Choices
    store: Choices = field(default_factory=dict)
    turns: int = 1
    """Turns of this plot while others have one: some events rarely meet even so."""

    def apply(self, rng: Random, scale: Scale, rates: Rates) -> tuple[Scale, Rates]:
        """Return the world of this plot."""
        store = replace(rates.store, **_draw(rng, self.store))
        return replace(scale, **_draw(rng, self.scale)), replace(
            rates, store=store, **_draw(rng, self.rates)
        )


def _draw(rng: Random, choices: Choices) -> dict[str, Any]:
    return {name: rng.choice(values) for name, values in choices.items()}


_PEACE: Final[Choices] = {
    "drop": (0.0,),
    "cut": (0.0,),
    "mute": (0.0,),
    "worker_crash": (0.0,),
    "worker_pause": (0.0,),
    "master_crash": (0.0,),
    "master_stall": (0.0,),
    "master_jump": (0.0,),
    "master_retire": (0.0,),
    "user_failure": (0.0,),
    "data_failure": (0.0,),
    "infrastructure_failure": (0.0,),
    "preempt": (0.0,),
    "cancel": (0.0,),
    "drain": (0.0,),
    "resume": (0.0,),
    "vanish": (0.0,),
    "lost_part": (0.0,),
}
"""Rates of faults that a plot does not ask for: they would end jobs before their plot begins."""
_STEADY_STORE: Final[Choices] = {
    "failed": (0.0,),
    "lost": (0.0, 0.1),
    "slow": (0.0,),
    "cut": (0.0,),
}


def _large(**fields: tuple[Any, ...]) -> Choices:
    """Return the numbers of a world with large jobs and little else."""
    usual: Choices = {
        "size": (Size.LARGE,),
        "chaos_seconds": (40.0,),
        "jobs": (1,),
        "workers": (2, 3),
        "masters": (1,),
        "clients": (0,),
    }
    return {**usual, **fields}


PLOTS: Final = (
    # Runs vanish and are made again with other content, while their readers run and report late.
    Plot(
        "revocations",
        _large(
            workers=(3,),
            shapes=(("two", "three", "three", "four", "diamond"),),
            task_seconds=((0.1, 0.3, 1.0),),
        ),
        {
            **_PEACE,
            "vanish": (0.3, 0.5),
            "read_failure": (0.1, 0.3, 0.5),
            "varied_maps": (True,),
            "lost_part": (0.0, 0.3),
            "delay_seconds": (0.2, 0.5, 1.0),
            "straggler": (0.0, 0.1),
            "flush_seconds": (0.05, 0.5),
            "look_seconds": (0.2, 1.0),
        },
        _STEADY_STORE,
        turns=2,
    ),
    # Several jobs with leases of their own; masters restart while workers are cut off or stopped.
    Plot(
        "leases",
        _large(
            jobs=(2, 3),
            workers=(3,),
            shapes=(("one", "two"),),
            maps=((2, 4),),
            chaos_seconds=(40.0,),
        ),
        {
            **_PEACE,
            "master_crash": (0.1, 0.2, 0.3),
            "worker_pause": (0.15, 0.3),
            "worker_crash": (0.0, 0.1),
            "cut": (0.0, 0.0, 0.1),
            "straggler": (0.3, 0.6),
            "lease_seconds": (3.0,),
            "delay_seconds": (0.05,),
            "flush_seconds": (0.001, 0.05),
        },
        _STEADY_STORE,
        turns=2,
    ),
    # Workers are drained, and preempted, with more tasks than they have begun.
    Plot(
        "drains",
        _large(
            chaos_seconds=(30.0,),
            jobs=(1,),
            maps=((8, 16),),
            workers=(3,),
            shapes=(("one", "two", "three"),),
            task_seconds=((0.1, 0.3, 1.0),),
        ),
        {
            **_PEACE,
            "drain": (0.2, 0.4),
            "preempt": (0.0, 0.1),
            "worker_pause": (0.0, 0.2),
            "vanish": (0.0, 0.3),
            "straggler": (0.1,),
            "delay_seconds": (0.2, 0.5, 1.0),
        },
        _STEADY_STORE,
    ),
    # Clients take values of each other's sessions, which end early; masters take over.
    Plot(
        "sessions",
        _large(jobs=(0,), clients=(2, 2, 3), chaos_seconds=(12.0,)),
        {
            **_PEACE,
            "master_crash": (0.0, 0.1, 0.2),
            "worker_crash": (0.0, 0.05),
            "user_failure": (0.0, 0.2),
            "delay_seconds": (0.05, 0.5),
        },
    ),
    # Jobs are cancelled or fail midway, their runs vanish, and others go on with what is left.
    Plot(
        "resumptions",
        _large(
            jobs=(1, 2),
            shapes=(("three", "four", "diamond"),),
            task_seconds=((0.3, 1.0),),
            chaos_seconds=(60.0,),
        ),
        {
            **_PEACE,
            "cancel": (0.1, 0.2),
            "resume": (0.9,),
            "vanish": (0.3, 0.6),
            "varied_maps": (True,),
            "read_failure": (0.0, 0.1),
            "delay_seconds": (0.05,),
            "look_seconds": (0.2,),
        },
        _STEADY_STORE,
    ),
    # Jobs follow each other to one output, and masters end while they tidy up after them. Entries
    # are late in the journal, so that some masters end before they have written that a job has.
    Plot(
        "claims",
        _large(
            size=(Size.SMALL,),
            jobs=(4,),
            chaos_seconds=(20.0,),
            is_shared=(True,),
            masters=(1, 2),
        ),
        {
            **_PEACE,
            "master_crash": (0.2, 0.3),
            "cancel": (0.3,),
            "delay_seconds": (0.05,),
            "look_seconds": (0.2,),
            "flush_seconds": (2.0,),
        },
        {"lost": (0.1, 0.3), "failed": (0.0, 0.1), "latency_seconds": (0.02, 0.3)},
    ),
    # Masters race for the lead, and each of them writes snapshots after a few entries.
    Plot(
        "successions",
        _large(size=(Size.SMALL,), chaos_seconds=(30.0,), masters=(3,)),
        {
            **_PEACE,
            "master_retire": (0.3, 0.5),
            "master_stall": (0.1, 0.3),
            "mute": (0.02, 0.1),
            "delay_seconds": (0.05,),
            "flush_seconds": (0.05,),
        },
        {
            "late": (0.5, 0.8),
            "slow": (0.01, 0.05),
            "snapshot_entries": (1, 3),
            "latency_seconds": (0.02, 0.3),
        },
    ),
)
_TURNS: Final = tuple(plot for plot in PLOTS for _ in range(plot.turns))


def with_plot(seed: int, scale: Scale, rates: Rates) -> tuple[Scale, Rates]:
    """Return the world of a seed, with the plot that it has, if any."""
    number, rest = divmod(seed, PLOT_EVERY)
    if rest != PLOT_EVERY - 1:
        return scale, rates
    # A draw of its own: others stay the same.
    return _TURNS[number % len(_TURNS)].apply(Random(f"{seed} plot"), scale, rates)
