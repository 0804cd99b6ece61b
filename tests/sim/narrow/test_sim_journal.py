"""Many seeds of the journal: one history, whoever stalls, dies, leads and compacts."""

from __future__ import annotations

import pytest

from tests.sim.narrow.journals import play, simulate_journal
from tests.sim.narrow.mutants import JOURNAL_MUTANTS

SEEDS = 60
SEEDS_A_MUTANT = 2_000
KEPT = {
    553: "a reader began at no snapshot that is as new as the entry that had been replaced",
    600: "an entry vanished between its create, which found it, and the look at its writer",
    2607: "a reader went on after an entry that a slow start had created anew",
    4421: "an oracle that took a repeated create for a second one",
}
"""Seeds that failed once, with what they showed; the simulation has changed since."""
SHOWN_BY = {
    "SnapshotsRunAhead": 3,
    "DamagedPacksRead": 8,
    "EntriesDeletedOncePacked": 6,
    "SlowStartsLead": 16,
}
"""A seed that showed the mutant, where the very first does not: it is tried before the others."""


def test_seeds_of_the_journal_are_well() -> None:
    assert play([*range(SEEDS), *KEPT]) == {}


def test_a_run_of_the_journal_is_the_same_each_time() -> None:
    make = JOURNAL_MUTANTS["GapsIgnored"]
    found = [simulate_journal(seed, make) for seed in range(6, 12)]
    again = [simulate_journal(seed, make) for seed in range(6, 12)]
    assert found == again
    assert any(found)


@pytest.mark.parametrize("name", JOURNAL_MUTANTS)
def test_every_mutant_of_the_journal_is_found(name: str) -> None:
    make = JOURNAL_MUTANTS[name]
    seeds = [SHOWN_BY.get(name, 0), *range(SEEDS_A_MUTANT)]
    assert any(simulate_journal(seed, make) for seed in seeds), name
