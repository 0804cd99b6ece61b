"""A soak of a cluster with three masters: what `scripts/soak` runs."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import textwrap
import time
from collections import Counter
from pathlib import Path

from mrcore.chaos.core.settings import Settings
from mrcore.chaos.site import Site, open_site
from mrcore.storage.injected import count_hits
from mrcore.storage.registry import storage_for
from tests.soak.disasters import Disasters
from tests.soak.load import Load
from tests.soak.past import write_past
from tests.soak.sampling import Series, look, table

SAMPLE_SECONDS = 2.0
SETTLE_SECONDS = 40.0
"""Time after the last job in which everything temporary has to go."""
WIDTH = 80
PROBLEMS_SHOWN = 20
"""Problems of one kind that are named."""
USERS = ("job", "calls", "dataset")
"""Kinds of load, each of which must have ended at least once."""
KEPT = frozenset(
    {"leader.json", "tokens", "journal", "snapshots", "packs", "jobs", "plugins", "logs"}
    | {"masters", "objects", "cluster.json", "tls.json", "lock"}
)
"""Names that a state keeps by design, for a while or for ever (docs/storage.md)."""


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Return 0 if every result was right, all daemons stayed flat and nothing was left."""
    parser = argparse.ArgumentParser("scripts/soak", description="Load and disasters for long.")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--masters", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--storage-faults", type=float, default=0.003, help="share (0.003)")
    options = parser.parse_args()
    settings = Settings(workers=options.workers, masters=options.masters)
    say(
        f"A soak of {options.minutes:g} minutes: {options.masters} masters, {options.workers} "
        f"workers, seed {options.seed}."
    )
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mrcore-soak-"))
        state_uri = f"file://{folder}/state"
        write_past(state_uri)
        site = stack.enter_context(
            open_site(settings, slots=1, memory_bytes=0, cwd=Path(folder), state_uri=state_uri)
        )
        load = Load(state_uri, Path(folder), options.seed)
        disasters = Disasters(site, options.seed, options.storage_faults)
        load.start()
        disasters.start()
        series = _sample(site, options.minutes * 60, load, disasters)
        say("The time is over: the last jobs end, and what they leave is looked at.")
        disasters.stop()
        load.stop()
        hits = count_hits(site.faults_path).total()
        left = _left(site.cluster.state_uri, Path(folder))
        site.check()
    return _report(load, disasters, hits, series, left)


def _sample(site: Site, seconds: float, load: Load, disasters: Disasters) -> list[Series]:
    """Look at all daemons until the time is over; return what was seen."""
    began = said = time.monotonic()
    found: dict[tuple[int, bool], Series] = {}
    while (now := time.monotonic()) - began < seconds:
        site.check()
        leader = site.leader()
        for daemon in (*site.cluster.masters, *site.cluster.workers):
            process_id = daemon.process_id
            sample = look(process_id, now)
            if sample is not None:
                # A standby that takes over does more from then on: that is not growth.
                name = f"{daemon.name}, leading" if daemon is leader else daemon.name
                one = found.setdefault((process_id, daemon is leader), Series(name, process_id))
                one.samples.append(sample)
        if now - said >= 60.0:
            said = now
            say(
                f"{(now - began) / 60:3.0f} min: {_done(load)} right, {len(load.failed)} "
                f"wrong; {disasters.dealt.total():,} disasters"
            )
        time.sleep(SAMPLE_SECONDS)
    return [one for one in found.values() if one.is_long]


def _left(state_uri: str, folder: Path) -> list[str]:
    """Return what stays in state and outputs though nothing documents it."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        names = [
            one.uri.removeprefix(f"{state_uri}/")
            for one in storage_for(state_uri).list(state_uri + "/")
        ]
        others = [name for name in names if name.partition("/")[0] not in KEPT]
        others += [str(path) for path in folder.glob("out-*/_*") if path.name != "_SUCCESS"]
        if not others or time.monotonic() > end:
            kept = Counter(name.partition("/")[0] for name in names)
            say_list("\nThe state holds", kept)
            return others
        time.sleep(1.0)


def _report(
    load: Load, disasters: Disasters, hits: int, series: list[Series], left: list[str]
) -> int:
    """Print what was done and seen, and the verdict; return the exit code."""
    problems = [problem for one in series for problem in one.problems()]
    problems += [f"{name} is left in the store." for name in left[:PROBLEMS_SHOWN]]
    problems += load.failed[:PROBLEMS_SHOWN]
    problems += [f"No {name} has ended." for name in USERS if not load.done[name]]
    say(f"\nRight results: {_done(load)}.")
    say_list("Disasters", disasters.dealt)
    say(f"Faults of the store: {hits:,}.\n")
    for line in table(series):
        say(line)
    say("")
    for problem in problems:
        say(textwrap.fill(f"- {problem}", WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    if problems:
        count = len(problems)
        say(f"\nNOT well: {count} problem{'' if count == 1 else 's'}, named above.")
        return 1
    say("All well: each result was right, no daemon grew, and nothing was left.")
    return 0


def say_list(title: str, counts: Counter[str]) -> None:
    """Print counts by name, in lines that fit a terminal."""
    say(textwrap.fill(f"{title}: {_counted(counts)}.", WIDTH, subsequent_indent="  "))


def _done(load: Load) -> str:
    """Return how many results of each sort were right."""
    return _counted(Counter({f"{name.removesuffix('s')}s": n for name, n in load.done.items()}))


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())) or "nothing"


if __name__ == "__main__":
    sys.exit(main())
