"""Several masters on one store: at most one acts, nothing that was acted on is lost, one leads."""

from __future__ import annotations

import pytest

from tests.sim.standby_mutants import MUTANTS
from tests.sim.standby_world import Make, play

SEEDS = 40
"""Seeds of an ordinary run; `scripts/sim --masters` plays as many more as there is time for."""
SEEDS_A_MUTANT = 120
SHOWN_BY = {"LeadsWithoutALook": 38, "TakesEveryNumber": 1, "DeletesEpochs": 20}
"""A seed that showed the mutant, where the very first does not: it is tried before the others."""


@pytest.mark.parametrize("start", range(0, SEEDS, 20))
def test_seeds_with_several_masters_are_well(start: int) -> None:
    played = {seed: play(seed) for seed in range(start, start + 20)}
    bad = {seed: one.problem for seed, one in played.items() if one.problem}
    assert not bad
    assert sum(one.taken for one in played.values()) > 40, "masters replace each other"
    assert sum(one.acknowledged for one in played.values()) > 2_000, "leaders work"


def test_a_seed_plays_the_same_each_time() -> None:
    assert play(7) == play(7) != play(8)


@pytest.mark.parametrize(
    "mutant", MUTANTS, ids=lambda make: f"{make.journal.__name__}-{make.follower.__name__}"
)
def test_every_mutant_of_a_standby_is_found(mutant: Make) -> None:
    seeds = [SHOWN_BY.get(mutant.journal.__name__, 0), *range(SEEDS_A_MUTANT)]
    found = next((seed for seed in seeds if play(seed, mutant).problem), None)
    assert found is not None, f"nothing was wrong with {mutant}"
