"""Hostile bytes in any number: what `scripts/fuzz` runs."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from tests.fuzz.mutation import mutated
from tests.fuzz.targets import TARGETS

SLOW_SECONDS = 5.0
"""CPU time of one input above which it counts as a hang."""
GROWTH_BYTES = 512 << 20
"""Growth of the process over one target above which memory leaks."""


class FaultFound(Exception):  # noqa: N818 - it is not an error of the program
    """An input that a target does not answer as it should."""


def fuzz(name: str, inputs: int, seed: int, kept: Path | None = None) -> int:
    """Feed a target; return how many inputs it took. Raises FaultFound.

    A file `kept` is left behind by a fault, with the input that made it.
    """
    target = TARGETS[name]
    corpus = target.corpus()
    taken, before = 0, _peak_bytes()
    with _keeper(kept) as keep:
        for number in range(inputs):
            data = mutated(Random(f"{name} {seed} {number}"), corpus)
            keep(data)
            began = time.process_time()
            try:
                target.read(data)
                taken += 1
            except target.errors:
                pass
            except BaseException as error:
                raise FaultFound(f"{name}: {traceback.format_exc()}") from error
            if time.process_time() - began > SLOW_SECONDS:
                raise FaultFound(f"{name}: it takes too long")
        if _peak_bytes() - before > GROWTH_BYTES:
            raise FaultFound(f"{name}: the process has grown")
    return taken


@contextlib.contextmanager
def _keeper(path: Path | None) -> Iterator[Callable[[bytes], None]]:
    """Yield a function that keeps an input in a file until the next one: it may end the process."""
    if path is None:
        yield lambda data: None
        return
    with path.open("wb", buffering=0) as file:

        def keep(data: bytes) -> None:
            os.pwrite(file.fileno(), data, 0)
            file.truncate(len(data))

        yield keep
    path.unlink()


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    """Return 0 if every target answered every input as it should."""
    parser = argparse.ArgumentParser("scripts/fuzz", description="Feed readers hostile bytes.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all")
    parser.add_argument("--inputs", type=int, default=10_000, help="for each target (10000)")
    parser.add_argument("--seed", type=int, default=0, help="another one draws other inputs (0)")
    options = parser.parse_args()
    unknown = sorted(set(options.targets) - TARGETS.keys())
    if unknown:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(TARGETS)}")
    logging.disable()
    failed = 0
    for name in options.targets or TARGETS:
        began = time.process_time()
        place = Path(f"fuzz-{name}.bin")
        try:
            taken = fuzz(name, options.inputs, options.seed, place)
        except FaultFound as fault:
            failed += 1
            sys.stdout.write(f"{fault}\nthe input is in {place}\n")
        else:
            seconds = time.process_time() - began
            sys.stdout.write(f"{name}: {options.inputs} inputs, {taken} read, {seconds:.1f} s\n")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
