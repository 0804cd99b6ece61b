"""Many seeds: no invariant breaks, no oracle objects, every job ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mrcore.master.core.calls import Calls
from mrcore.master.core.machine import Machine
from tests.sim.call_mutants import CALL_FAULTS, CALL_MUTANTS
from tests.sim.clients import SEEDS_WITH_CALLS
from tests.sim.masters import Make
from tests.sim.mutants import MUTANTS, Mutant, machine_with
from tests.sim.resumption_mutants import KeptContentForgotten, keep_what_has_read_others
from tests.sim.simulator import simulate

SEEDS = 120
"""Seeds of an ordinary run; `scripts/sim` plays as many more as there is time for."""
SEEDS_A_MUTANT = 320
SHOWN_BY = {
    "CertainErrorsTriedAgain": 172,
    "StagesEarly": 63,
    "NoLeases": 8,
    "NoSessionFence": 11,
    "NoSequenceFence": 1,
    "NoRevocation": 8,
    "RevocationStops": 8,
    "PreemptionsCount": 13,
    "RepeatsCount": 1,
    "NoBackOffCap": 3,
    "LateResultsRefused": 1,
    "FinishedIsWanted": 1,
    "BackOffsForgotten": 2,
    "LossesIgnored": 2,
    "LossesUnjournaled": 3,
    "TasksForgotten": 2,
    "NobodyAwaited": 1,
    "YoungerAttemptsStay": 9,
    "WaitersForgotten": 6,
    "WaitersHasty": 6,
    "RoomIgnored": 4,
    "LabelsIgnored": 12,
    "NoVersionFence": 71,
    "VersionsStay": 71,
    "NoAttemptFence": 31,
    "TakenBackAtOnce": 59,
    "AnswersIgnored": 15,
    "JoinsForgotten": 82,
    "ShortestLeaseAwaited": 162,
    "RoomLeaks": 22,
    "ResumesNothing": 144,
}
"""A seed that showed the mutant, where the very first does not: it is tried before the others."""
HERE = Path(__file__).parent


def kept_seeds() -> list[int]:
    """Return the seeds that failed once."""
    lines = (HERE / "seeds.txt").read_text(encoding="utf-8").splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("start", range(0, SEEDS, 40))
def test_seeds_are_well(start: int) -> None:
    bad = {seed: simulate(seed).problem for seed in range(start, start + 40)}
    assert not any(bad.values()), {seed: problem for seed, problem in bad.items() if problem}


@pytest.mark.parametrize("seed", kept_seeds())
def test_a_seed_that_failed_once_is_well(seed: int) -> None:
    assert simulate(seed).problem == ""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.__name__))
def test_every_mutant_is_found(mutant: Mutant) -> None:
    make = machine_with(mutant)
    seeds = [SHOWN_BY.get(mutant.__name__, 0), *range(SEEDS_A_MUTANT)]
    found = next((seed for seed in seeds if simulate(seed, make).problem), None)
    assert found is not None, f"nothing was wrong with {mutant.__doc__}"


def finds_in_calls(make: Make = Machine, first: int = 0) -> bool:
    """Return whether a seed with calls goes wrong."""
    seeds = [first, *range(0, SEEDS_A_MUTANT, SEEDS_WITH_CALLS)]
    return any(simulate(seed, make).problem for seed in seeds)


@pytest.mark.parametrize("mutant", CALL_MUTANTS, ids=lambda mutant: str(mutant.__name__))
def test_every_mutant_of_calls_is_found(mutant: type[Calls]) -> None:
    make = partial(Machine, calls=mutant)
    assert finds_in_calls(make, SHOWN_BY.get(mutant.__name__, 0)), f"{mutant.__doc__}"


@pytest.mark.parametrize("fault", CALL_FAULTS, ids=lambda fault: str(fault.__name__))
def test_every_fault_of_durable_calls_is_found(
    fault: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    assert finds_in_calls(), f"{fault.__doc__}"


def test_results_that_are_kept_without_their_content_are_found() -> None:
    assert simulate(57, KeptContentForgotten).problem, f"{KeptContentForgotten.__doc__}"


def test_results_that_are_kept_without_what_they_have_read_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert simulate(1253).problem == ""
    keep_what_has_read_others(monkeypatch)
    assert simulate(1253).problem, f"{keep_what_has_read_others.__doc__}"


def test_a_run_is_the_same_under_any_hash_seed() -> None:
    script = (
        "import json; from tests.sim.simulator import simulate;"
        "print(json.dumps([simulate(seed).digest for seed in range(12)]))"
    )
    digests = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=HERE.parent.parent,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.append(json.loads(done.stdout))
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 12, "seeds differ"
