"""`mrcore gc --state`: leftovers of a state, shown as one JSON object, or removed.

The command line of people is `mrcore.cli.gc`, which starts this program and prints its answer. It
reads the journal and never writes to it, so a master may lead the state at the same time. Plugins
and stored objects, which jobs share, are left to that master: it knows what it is being asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from mrcore.errors import MrcoreError, NotFoundError, UnavailableError, UsageError
from mrcore.master.core.durable import Durable
from mrcore.master.core.expiry import needs_of
from mrcore.master.core.facts import Fact
from mrcore.master.core.limits import Limits
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.leader import read_leader
from mrcore.master.shell.leftovers import Folder, Kind, Leftovers, prune
from mrcore.master.shell.tokens import Tokens
from mrcore.model import object_names
from mrcore.rpc.cluster import credentials_of
from mrcore.rpc.probe import answers
from mrcore.rpc.roles import Role
from mrcore.storage.base import ObjectInfo, Storage
from mrcore.storage.places import Reach
from mrcore.storage.registry import storage_for
from mrcore.util.clock import SYSTEM, Clock

LIVE_SECONDS: Final = 2.0
"""Silence after which a leader is taken for dead."""
BATCH: Final = 64
"""Objects between two looks at the journal."""
PARALLEL: Final = 16
"""Deletions at once, where they do not wait for the lock of a folder."""
_PAUSE_SECONDS: Final = 2.0
"""Time between two lines of progress."""


class Replica:
    """Receiver of a journal that keeps the durable state and nothing else."""

    def __init__(self) -> None:
        self.durable = Durable()
        self._limits = Limits()

    def restore(self, durable: Durable) -> None:
        """Take the state of a snapshot."""
        self.durable = durable

    def apply(self, fact: Fact) -> None:
        """Take in one fact."""
        self.durable.apply(fact, self._limits)


@dataclass(slots=True)
class Sum:
    """Leftovers of one kind."""

    objects: int = 0
    bytes: int = 0
    oldest: float = 0.0
    """Wall-clock time at which the oldest changed last; 0 where there is none."""

    def add(self, info: ObjectInfo) -> None:
        """Count an object."""
        self.objects += 1
        self.bytes += info.size_bytes
        if info.modified_seconds:
            self.oldest = min(self.oldest or info.modified_seconds, info.modified_seconds)


class Progress:
    """Lines on stderr about work that takes long."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next = clock.monotonic() + _PAUSE_SECONDS
        self._looked = 0

    def say(self, what: str) -> None:
        """Print a line, if the last one was a while ago."""
        if self._clock.monotonic() >= self._next:
            print(f"mrcore gc: {what}", file=sys.stderr, flush=True)  # noqa: T201 - progress
            self._next = self._clock.monotonic() + _PAUSE_SECONDS

    def look(self) -> None:
        """Count an object that was looked at."""
        self._looked += 1
        self.say(f"{self._looked:,} leftovers so far")


@dataclass
class Collector:
    """One run of the command on one state."""

    storage: Storage
    state_uri: str
    older_seconds: float
    removes: bool
    clock: Clock
    is_led: Callable[[], bool]
    """Return whether a master leads the state now."""
    sums: dict[Kind, Sum] = field(default_factory=lambda: {kind: Sum() for kind in Kind})
    notes: list[str] = field(default_factory=list)
    kept_jobs: int = 0

    def run(self) -> None:
        """Count what can go, and remove it if asked to; raise MrcoreError."""
        self.progress = Progress(self.clock)
        self._journal = Journal(self.storage, self.state_uri, "gc", self.clock)
        durable = self._durable()
        now = self.clock.wall()
        prefix = object_names.objects_prefix(self.state_uri)
        needs = needs_of(durable, now - self.older_seconds, prefix)
        self.kept_jobs = len(needs.kept)
        left = Leftovers(self.storage, self.state_uri, needs, now)
        for folder in left.folders(Kind.PLANS, Kind.LOGS, Kind.RESULTS, Kind.TEMPORARIES):
            self._take_folder(folder)
        if self.is_led():
            self.notes.append(
                "A master leads this state. It removes plugins and stored objects itself."
            )
        else:
            self._take_shared(Kind.PLUGINS, left.plugins())
            self._take_shared(Kind.OBJECTS, left.objects())
        snapshots, known_to = self._journal.snapshots, self._journal.number
        self._take(Kind.ENTRIES, snapshots.covered_entries(durable.epochs, known_to))
        self._take(Kind.PACKS, self._journal.packs.covered(snapshots.covered_to()))
        self._take(Kind.SNAPSHOTS, snapshots.old_snapshots())

    def _durable(self) -> Durable:
        replica = Replica()
        for read in self._journal.replay():
            self._journal.feed(read, replica)
            self.progress.say(f"has read the journal up to entry {read.number:,}")
        return replica.durable

    def _take_folder(self, folder: Folder) -> None:
        self._take(folder.kind, folder.objects)
        if self.removes:
            prune(self.storage, folder)

    def _take_shared(self, kind: Kind, infos: Iterable[ObjectInfo]) -> None:
        """Take what jobs share, until a master takes over, which may be asked for it."""
        for batch in _batches(infos):
            if self._journal.fenced():
                self.notes.append(
                    "A master has begun to lead this state. It removes plugins and stored objects "
                    "itself."
                )
                return
            self._take(kind, batch)

    def _take(self, kind: Kind, infos: Iterable[ObjectInfo]) -> None:
        for batch in _batches(infos):
            for info in self._removed(batch) if self.removes else batch:
                self.sums[kind].add(info)
                self.progress.look()

    def _removed(self, infos: Sequence[ObjectInfo]) -> Iterator[ObjectInfo]:
        """Delete objects; yield those that were there."""

        def delete(info: ObjectInfo) -> bool:
            return self.storage.delete(info.uri, generation=info.generation)

        # Files are deleted under the lock of their folder: more threads would only wait for it.
        if self.storage.reach is not Reach.EVERYWHERE or len(infos) == 1:
            yield from (info for info in infos if delete(info))
            return
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="gc") as pool:
            for info, gone in zip(infos, pool.map(delete, infos), strict=True):
                if gone:
                    yield info


def _batches(infos: Iterable[ObjectInfo]) -> Iterator[list[ObjectInfo]]:
    rest = iter(infos)
    while batch := list(islice(rest, BATCH)):
        yield batch


def collect(
    storage: Storage, state_uri: str, older_seconds: float, *, removes: bool, clock: Clock = SYSTEM
) -> Collector:
    """Look through a state; return what was found, or removed."""
    _check_state(storage, state_uri)

    def is_led() -> bool:
        leader, _ = read_leader(storage, state_uri)
        if leader is None or not leader.serving:
            return False
        own = Tokens(storage, state_uri, clock).read_own(Role.USER)
        return asyncio.run(answers(credentials_of(leader, state_uri, own), LIVE_SECONDS))

    collector = Collector(storage, state_uri, older_seconds, removes, clock, is_led)
    collector.run()
    return collector


def _check_state(storage: Storage, state_uri: str) -> None:
    """Raise UsageError for a place that is not a state."""
    try:
        storage.stat(object_names.cluster_uri(state_uri))
    except NotFoundError:
        raise UsageError(
            f"{object_names.shown(state_uri)} is not the state of a cluster. Name the --state of "
            "a master."
        ) from None


def as_json(done: Collector) -> dict[str, object]:
    """Return what is printed."""
    now = done.clock.wall()
    kinds = {
        str(kind): {
            "objects": each.objects,
            "bytes": each.bytes,
            "oldest_seconds": round(now - each.oldest) if each.oldest else 0,
        }
        for kind, each in done.sums.items()
    }
    return {
        "state": object_names.shown(done.state_uri),
        "removed": done.removes,
        "older_than_seconds": done.older_seconds,
        "kept_jobs": done.kept_jobs,
        "objects": sum(each.objects for each in done.sums.values()),
        "bytes": sum(each.bytes for each in done.sums.values()),
        "kinds": kinds,
        "notes": done.notes,
    }


def main(arguments: Sequence[str]) -> int:
    """Print what is left in a state as one JSON object; return the exit code."""
    parser = argparse.ArgumentParser(prog="mrcore gc")
    parser.add_argument("--state", required=True, help="URI of the state")
    parser.add_argument("--older-than", required=True, type=float, help="seconds")
    parser.add_argument("--yes", action="store_true", help="remove, and not only show")
    given = parser.parse_args(arguments)
    try:
        storage = storage_for(given.state)
        done = collect(storage, given.state, given.older_than, removes=given.yes)
    except MrcoreError as error:
        print(f"mrcore: {error}", file=sys.stderr)  # noqa: T201 - an error for people
        if isinstance(error, UnavailableError):
            return 3
        return error.exit_code
    print(json.dumps(as_json(done), ensure_ascii=False))  # noqa: T201 - the answer
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
