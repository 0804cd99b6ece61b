"""A mutant: the code under test with one part wrong, which the simulation must find.

Mutants test the tests: an oracle that stays silent here would stay silent when the real code breaks
in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

from tests.sim.world.scene import REAL, Parts
from tests.sim.world.simulation import simulate_all


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mutant."""

    name: str
    parts: Parts = REAL
    patches: tuple[tuple[Any, str, Any], ...] = ()
    """Objects, with the attributes that are replaced, and by what."""

    def found(self, seeds: Iterable[int]) -> tuple[int, str] | None:
        """Return the first seed that shows the fault, and how; None where none does."""
        with ExitStack() as stack:
            for target, attribute, value in self.patches:
                stack.enter_context(mock.patch.object(target, attribute, value))
            for result in simulate_all(seeds, self.parts):
                if result.problem:
                    return result.seed, result.problem
        return None
