"""Simulation of the journal: masters that come, stall, die and compact over one hostile store.

The code under test is the real one: `Journal`, `Snapshots` and `Packs`. Whenever one of them calls
the store, others may act before that call is carried out, and so on in turn. So any master may
stall between any two of its calls, for as long as others take to lead, to compact and to be
replaced.

Facts are joins and departures of workers. What counts is the order in which they are read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any
from unittest import mock

from mrcore.errors import MrcoreError, UnavailableError
from mrcore.master.core.compaction import Packing
from mrcore.master.core.durable import Durable
from mrcore.master.core.facts import Fact, WorkerJoined, WorkersLeft
from mrcore.master.errors import FencedError
from mrcore.master.shell.entries import FORMAT, Entry, encode_entry
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.packs import Packs
from mrcore.master.shell.snapshots import KEPT, Snapshots, encode_snapshot
from mrcore.storage.faulty import FaultKind, FaultyStorage, random_faults
from tests.sim.narrow.truth import JOURNAL, LIMITS, SNAPSHOTS, STATE, Truth
from tests.support.fake_clock import FakeClock

TURNS = 80
"""Turns of one run, at most; others act within these."""
PROCESSES_MAX = 5
NAP_TURNS = 40
DEPTH_MAX = 3
"""Calls that may be stalled at once."""


class CrashError(BaseException):
    """The end of a simulated process, in the midst of a call."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of faults: each is a probability at each chance."""

    stall: float
    """Others act before a call."""
    crash: float
    lost: float
    """A call has happened, and its reply is lost."""
    failed: float
    nap: float
    """A start stalls for long, at one of its first calls."""
    birth: float
    """Another master starts."""
    snapshot: float
    damage: float

    @classmethod
    def draw(cls, rng: Random) -> Rates:
        """Draw the rates of one seed."""
        return cls(
            stall=rng.choice((0.05, 0.2, 0.4)),
            crash=rng.choice((0.0, 0.01, 0.05)),
            lost=rng.choice((0.0, 0.05)),
            failed=rng.choice((0.0, 0.05)),
            nap=rng.choice((0.1, 0.5)),
            birth=rng.choice((0.1, 0.3, 0.6)),
            snapshot=rng.choice((0.1, 0.5, 1.0)),
            damage=rng.choice((0.0, 0.0, 0.3)),
        )


class Replica:
    """The durable state of one process."""

    def __init__(self) -> None:
        self.durable = Durable()

    def restore(self, durable: Durable) -> None:
        """Take the state of a snapshot."""
        self.durable = durable

    def apply(self, fact: Fact) -> None:
        """Take in one fact."""
        self.durable.apply(fact, LIMITS)


class Process:
    """A master: it takes over, appends, and writes snapshots."""

    def __init__(self, simulation: JournalSimulation, name: str) -> None:
        self.simulation = simulation
        self.name = name
        self.dead = False
        self.leads = False
        self.busy: set[str] = set()
        """Threads that are within a call."""
        rng = simulation.rng
        self.calls_to_nap = rng.randint(1, 6) if rng.random() < simulation.rates.nap else 0
        self.replica = Replica()
        self.journal = simulation.make.journal(
            simulation.store_of(self), STATE, name, simulation.clock
        )
        self.journal.snapshots = simulation.make.snapshots(simulation.store_of(self), STATE)
        self.journal.packs = simulation.make.packs(simulation.store_of(self), STATE)
        self._packing = Packing(step=rng.choice((1, 2, 4)), entries_max=rng.choice((2, 5, 100)))
        self._pending: list[Fact] = []
        self._draft: tuple[int, bytes, frozenset[int]] | None = None

    def turn(self) -> None:
        """Do one thing, in a thread that is not within a call."""
        rng = self.simulation.rng
        if not self.leads:
            if "journal" not in self.busy:
                self._in_thread("journal", self._take_over)
        elif self._draft is not None and "compactor" not in self.busy and rng.random() < 0.6:
            self._in_thread("compactor", self._compact)
        elif self._packing.is_due() and "compactor" not in self.busy and rng.random() < 0.6:
            self._in_thread("compactor", self._pack)
        elif "journal" not in self.busy and rng.random() < 0.7:
            self._in_thread("journal", self._append)
        else:
            self._act()

    def _in_thread(self, thread: str, act: Callable[[], None]) -> None:
        self.busy.add(thread)
        try:
            with self.simulation.running(self):
                act()
        except (CrashError, FencedError):
            self.dead = True
        except UnavailableError:
            pass  # the compactor tries again later
        finally:
            self.busy.discard(thread)

    def _take_over(self) -> None:
        for read in self.journal.take_over():
            self.journal.feed(read, self.replica)
        number = self.journal.number
        truth = self.simulation.truth
        assert truth.entries[number - 1].writer == self.name, f"{self.name} leads by a number taken"
        state = encode_snapshot(number, self.replica.durable)
        assert state == truth.contents[number], f"{self.name} has read another state"
        self.leads = True

    def _act(self) -> None:
        """Let the machine give a fact, which is ahead of the journal."""
        rng = self.simulation.rng
        worker = f"w{rng.randrange(8)}"
        fact: Fact = WorkerJoined(worker) if rng.random() < 0.6 else WorkersLeft((worker,))
        self.replica.apply(fact)
        self._pending.append(fact)

    def _append(self) -> None:
        self._act()
        facts, self._pending = self._pending, []
        number = self.journal.number + 1
        rng = self.simulation.rng
        is_due = self._draft is None and rng.random() < self.simulation.rates.snapshot
        draft = self.encode(number) if is_due and not self.simulation.make.encodes_late else None
        if self.simulation.make.packs_early:
            epoch = self.journal.epoch
            entry = Entry(number, epoch, self.name, tuple(facts), FORMAT, after=epoch)
            self.journal.packs.write(number, [encode_entry(entry)])
        self._packing.append(number, self.journal.append(facts))
        if is_due:
            self._draft = draft or self.encode(number)

    def _pack(self) -> None:
        first, contents = self._packing.first, list(self._packing.contents)
        self._packing.given()
        self.journal.packs.write(first, contents)

    def encode(self, number: int) -> tuple[int, bytes, frozenset[int]]:
        """Return a snapshot of the state as it is in memory."""
        durable = self.replica.durable
        return number, encode_snapshot(number, durable), frozenset(durable.epochs)

    def _compact(self) -> None:
        assert self._draft is not None
        (number, content, epochs), self._draft = self._draft, None
        self.journal.snapshots.write(number, content)
        self.journal.snapshots.delete_covered(epochs, number)
        self.journal.packs.delete_covered(self.journal.snapshots.covered_to())


@dataclass(frozen=True, slots=True)
class Parts:
    """The code that is simulated."""

    journal: type[Journal] = Journal
    snapshots: type[Snapshots] = Snapshots
    packs: type[Packs] = Packs
    encodes_late: bool = False
    """Whether a snapshot is of the state after the append, and not of that before it."""
    packs_early: bool = False
    """Whether a pack is written before its newest entry is durable."""


class JournalSimulation:
    """One seed."""

    def __init__(self, seed: int, make: Parts) -> None:
        self.rng = Random(f"{seed} journal")
        self.rates = Rates.draw(self.rng)
        self.make = make
        self.truth = Truth()
        self.clock = FakeClock()
        self.processes: list[Process] = []
        self._running: list[Process] = []
        self._born = 0
        self._turns = 0
        self.calm = False

    def store_of(self, process: Process) -> FaultyStorage:
        """Return the store as one process sees it."""
        faults = {FaultKind.BEFORE: self.rates.failed, FaultKind.AFTER: self.rates.lost}
        plan = random_faults(self.rng, {"*": faults, "list": {}, "stat": {}})

        def hook(operation: str, uri: str) -> None:
            self._meanwhile(process)

        def calm_plan(operation: str, uri: str, number: int) -> FaultKind | None:
            # Only what the code tries again by itself: creates of entries, and its compactor.
            may_fail = operation in ("commit", "delete") and not self.calm
            return plan(operation, uri, number) if may_fail else None

        return FaultyStorage(self.truth, calm_plan, hook=hook)

    @contextmanager
    def running(self, process: Process) -> Iterator[None]:
        """Mark a process as within a call."""
        self._running.append(process)
        try:
            yield
        finally:
            self._running.pop()

    def _meanwhile(self, process: Process) -> None:
        """Let others act before a call of one process, which may have died by then."""
        rng = self.rng
        if self.calm:
            return
        if process.dead or rng.random() < self.rates.crash:
            process.dead = True
            raise CrashError
        process.calls_to_nap -= 1
        depth = len(self._running)
        if process.calls_to_nap == 0 and depth < DEPTH_MAX:
            for _ in range(NAP_TURNS // depth):
                self._turn()
        elif depth < DEPTH_MAX and rng.random() < self.rates.stall / depth**2:
            for _ in range(rng.choice((1, 3, 10, 30))):
                self._turn()
        if process.dead:
            raise CrashError

    def _turn(self) -> None:
        self._turns += 1
        if self._turns > TURNS:
            return
        rng = self.rng
        if rng.random() < self.rates.damage:
            self.truth.damage_newest()
        self.processes = [process for process in self.processes if not process.dead]
        if not self.processes or (
            len(self.processes) < PROCESSES_MAX and rng.random() < self.rates.birth
        ):
            self._born += 1
            self.processes.append(Process(self, f"m{self._born}"))
        rng.choice(self.processes).turn()

    def run(self) -> None:
        """Play to the end; raise AssertionError for what must not be."""
        while self._turns < TURNS:
            self._turn()
        self.calm = True
        last = Process(self, "last")
        last._take_over()
        for number in (1, 2):
            last._append()
            last._draft = last.encode(last.journal.number)
            last._compact()
            assert last.journal.number == len(self.truth.entries), f"compacted {number} times"
        self._judge_size(last)

    def _judge_size(self, last: Process) -> None:
        """Judge what is left: epochs, two snapshots, and what comes after the older of them."""
        numbers = [int(info.uri.removeprefix(JOURNAL)) for info in self.truth.list(JOURNAL)]
        rest = set(numbers) - set(last.replica.durable.epochs)
        assert rest <= {last.journal.number}, f"{sorted(rest)} are left"
        assert len(list(self.truth.list(SNAPSHOTS))) == KEPT
        covered_to = last.journal.snapshots.covered_to()
        assert not list(last.journal.packs.covered(covered_to)), "packs are left"


class _Reading(Future[Any]):
    """A read of a pool without threads: made when it is given, or when it is waited for."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__()
        self._call = call

    def result(self, timeout: float | None = None) -> Any:
        """Return what the call returns."""
        if not self.done():
            self.set_result(self._call())
        return super().result(timeout)


class _Inline:
    """An executor without threads."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call now or later."""
        reading = _Reading(partial(call, *arguments))
        if self._rng.random() < 0.5:
            with suppress(MrcoreError):  # then it fails once more for whoever waits for it
                reading.result()
        return reading

    def shutdown(self, **options: bool) -> None:
        """Do nothing."""


def simulate_journal(seed: int, make: Parts = Parts()) -> str:
    """Play one seed; return what was wrong, empty where all was well."""
    simulation = JournalSimulation(seed, make)
    inline = _Inline(simulation.rng)
    with mock.patch.object(futures, "ThreadPoolExecutor", return_value=inline):
        try:
            simulation.run()
        except (AssertionError, MrcoreError) as error:
            return f"{type(error).__name__}: {error}"
    return ""


def play(seeds: Sequence[int], make: Parts = Parts()) -> dict[int, str]:
    """Return what was wrong, by seed."""
    found = {seed: simulate_journal(seed, make) for seed in seeds}
    return {seed: problem for seed, problem in found.items() if problem}
