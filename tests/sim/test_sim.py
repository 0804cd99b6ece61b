"""Many seeds: no invariant breaks, no oracle objects, all ends; and no mutant does as well."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sim.kept import kept_seeds, shown_by
from tests.sim.mutants.all import FOUND_BY_NARROW, MUTANTS
from tests.sim.narrow.mutants import JOURNAL_MUTANTS
from tests.sim.world.simulation import simulate, simulate_all

SEEDS = 1_000
"""Seeds of an ordinary run; `scripts/sim` plays as many more as there is time for."""
BLOCK = 250
SEEDS_A_MUTANT = 200
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Leave out what masters log while their store does not answer."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("start", range(0, SEEDS, BLOCK))
def test_seeds_are_well(start: int) -> None:
    problems: dict[int, str] = {}
    taken: list[int] = []
    taken_of_several: list[int] = []
    for each in simulate_all(range(start, start + BLOCK)):
        if each.problem:
            problems[each.seed] = each.problem
        taken.append(each.taken)
        if each.scale.masters > 1:
            taken_of_several.append(each.taken)
    assert problems == {}
    assert sum(taken) > 1.2 * BLOCK, "masters replace each other"
    took_over = sum(times > 1 for times in taken_of_several)
    assert took_over > len(taken_of_several) / 5, "standbys take over"


@pytest.mark.parametrize("seed", kept_seeds())
def test_a_seed_that_failed_once_is_well(seed: int) -> None:
    assert simulate(seed).problem == ""


def test_every_mutant_has_a_seed_or_is_found_by_the_simulation_of_the_journal() -> None:
    assert shown_by().keys() == MUTANTS.keys()
    assert JOURNAL_MUTANTS.keys() >= FOUND_BY_NARROW
    assert MUTANTS.keys().isdisjoint(FOUND_BY_NARROW)


@pytest.mark.parametrize("name", shown_by())
def test_every_mutant_is_found(name: str) -> None:
    # The seed that showed it is tried before the others, of which `scripts/sim` plays more.
    seeds = [shown_by()[name], *range(SEEDS_A_MUTANT)]
    found = MUTANTS[name].found(seeds)
    assert found is not None, f"Run scripts/sim --mutants {name}, and note the seed that shows it."


def test_a_run_is_the_same_under_any_hash_seed() -> None:
    script = (
        "import json; from tests.sim.world.simulation import simulate;"
        "print(json.dumps([simulate(seed, is_logged=True).digest for seed in range(40)]))"
    )
    digests = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.append(json.loads(done.stdout))
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 40, "seeds differ"
