"""Play many seeds of the simulation, or one, or all mutants: what `scripts/sim` runs."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterable, Sequence

from tests.sim.kept import add_seed, kept_seeds
from tests.sim.mutants.all import MUTANTS
from tests.sim.world.simulation import simulate, simulate_all

PROGRESS_SECONDS = 30.0
SEEDS_A_MUTANT = 2_000


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def play_one(seed: int) -> int:
    """Print all that happens in one seed, with a check after every step."""
    result = simulate(seed, check_every=1, is_logged=True)
    say("\n".join(result.log))
    say(result.problem or "all is well")
    return 1 if result.problem else 0


def play_many(seeds: Sequence[int]) -> int:
    """Play seeds; keep those that fail, with what was wrong."""
    begun, cpu = time.monotonic(), time.process_time()
    told, failed, steps, simulated, taken = begun, 0, 0, 0.0, 0
    for done, result in enumerate(simulate_all(seeds), start=1):
        steps += result.steps
        simulated += result.seconds
        taken += result.taken
        if result.problem:
            failed += 1
            say(f"seed {result.seed}: {result.problem}")
            say(f"  repeat it with: scripts/sim --seed {result.seed}")
            add_seed(result.seed, result.problem)
        if time.monotonic() - told >= PROGRESS_SECONDS:
            told = time.monotonic()
            rate = done / (time.process_time() - cpu)
            say(f"{done:,} of {len(seeds):,} seeds, {failed} failed, {rate:.0f} a second")
    seconds = max(time.process_time() - cpu, 1e-9)
    say(
        f"{len(seeds):,} seeds, {failed} failed: {simulated / 3600:.1f} simulated hours, {steps:,} "
        f"steps, {taken:,} take-overs in {seconds:.1f} s of CPU time, "
        f"{len(seeds) / seconds:.0f} seeds a second"
    )
    return 1 if failed else 0


def play_mutants(names: Iterable[str], seeds: int) -> int:
    """Print the seed that shows each mutant; return 1 if one is not found."""
    missed = 0
    for name in names:
        begun = time.process_time()
        found = MUTANTS[name].found(range(seeds))
        seconds = time.process_time() - begun
        if found is None:
            missed += 1
            say(f"{name} is NOT found in {seeds:,} seeds ({seconds:.0f} s)")
        else:
            problem = found[1].splitlines()[0]
            say(f"{name} {found[0]}  # {problem[:100]} ({seconds:.1f} s)")
    return 1 if missed else 0


def main() -> int:
    """Return 0 if all was well."""
    parser = argparse.ArgumentParser("scripts/sim", description="Play many seeds.")
    parser.add_argument("--seeds", type=int, default=1_000, metavar="N", help="how many (1000)")
    parser.add_argument("--start", type=int, default=0, metavar="S", help="the first one (0)")
    parser.add_argument("--seed", type=int, metavar="K", help="print what happens in this one")
    parser.add_argument("--kept", action="store_true", help="play the seeds that failed once")
    parser.add_argument(
        "--mutants", nargs="*", metavar="NAME", help="find these mutants, or all of them"
    )
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # each seed has a store that does not answer at times
    if options.seed is not None:
        return play_one(options.seed)
    if options.mutants is not None:
        seeds = SEEDS_A_MUTANT if options.seeds == 1_000 else options.seeds
        return play_mutants(options.mutants or MUTANTS, seeds)
    if options.kept:
        return play_many(kept_seeds())
    return play_many(range(options.start, options.start + options.seeds))


if __name__ == "__main__":
    sys.exit(main())
