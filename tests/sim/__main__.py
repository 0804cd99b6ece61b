"""Play many seeds of the simulation: what `scripts/sim` runs."""

from __future__ import annotations

import argparse
import logging
import sys
import time

from tests.sim.journals import simulate_journal
from tests.sim.simulator import simulate
from tests.sim.standby_world import play


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def play_journal(seeds: range) -> int:
    """Play seeds of the journal; return 0 if every one was well."""
    logging.disable()  # damaged snapshots are in each seed
    begun, failed = time.process_time(), 0
    for seed in seeds:
        if problem := simulate_journal(seed):
            failed += 1
            say(f"seed {seed}: {problem}")
    seconds = time.process_time() - begun
    rate = len(seeds) / seconds
    say(f"{len(seeds)} seeds of the journal, {failed} failed, {rate:.0f} seeds a second of CPU")
    return 1 if failed else 0


def play_masters(seeds: range) -> int:
    """Return 0 if every seed with several masters was well."""
    logging.disable(logging.CRITICAL)  # each seed has a store that does not answer at times
    failed = 0
    for seed in seeds:
        problem = play(seed).problem
        if problem:
            failed += 1
            say(f"seed {seed}: {problem}")
    say(f"{len(seeds)} seeds with several masters, {failed} failed")
    return 1 if failed else 0


def main() -> int:
    """Return 0 if every seed was well."""
    parser = argparse.ArgumentParser("scripts/sim", description="Play many seeds.")
    parser.add_argument("seeds", type=int, nargs="?", default=1_000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first one")
    parser.add_argument("--journal", action="store_true", help="play the journal alone")
    parser.add_argument("--log", type=int, metavar="SEED", help="print what happens in this one")
    parser.add_argument("--masters", action="store_true", help="play several masters on one store")
    options = parser.parse_args()
    if options.masters:
        return play_masters(range(options.start, options.start + options.seeds))
    if options.log is not None:
        result = simulate(options.log)
        say("\n".join(result.log))
        say(result.problem or "all is well")
        return 1 if result.problem else 0
    if options.journal:
        return play_journal(range(options.start, options.start + options.seeds))
    begun, failed, simulated = time.perf_counter(), 0, 0.0
    for seed in range(options.start, options.start + options.seeds):
        result = simulate(seed)
        simulated += result.seconds
        if result.problem:
            failed += 1
            say(f"seed {seed}: {result.problem}")
    seconds = time.perf_counter() - begun
    say(
        f"{options.seeds} seeds, {failed} failed, {simulated / 3600:.1f} simulated hours in "
        f"{seconds:.1f} s, {options.seeds / seconds:.0f} seeds a second"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
