"""Several masters on one store, with faults from one seed: partitions, stalls, lost replies, jumps.

Each master is a process that runs the real follower, journal, snapshots and records. Only the work
of a leader is made up: it appends facts, writes snapshots, and retires at times.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from random import Random
from typing import Any

from mrcore.errors import UnavailableError
from mrcore.master.core.compaction import Compaction
from mrcore.master.core.durable import Durable
from mrcore.master.core.facts import Fact, WorkerJoined, WorkersLeft
from mrcore.master.core.limits import Limits
from mrcore.master.core.succession import BEAT_SECONDS
from mrcore.master.errors import FencedError
from mrcore.master.shell.follower import RELIST_SECONDS, Follower, Lookout
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.leader import announce, retire
from mrcore.master.shell.roster import Roster
from mrcore.master.shell.snapshots import encode_snapshot
from mrcore.model.master import MasterRole
from mrcore.rpc.cluster import Credentials, Leader
from mrcore.rpc.masters import MasterRecord
from mrcore.storage.base import ObjectInfo
from mrcore.storage.faulty import FaultKind, FaultyStorage
from mrcore.storage.memory import MemoryStorage
from tests.sim.standby_oracle import STATE, StandbyOracle
from tests.sim.standby_rates import Rates
from tests.sim.timeline import Process, Timeline

CHAOS_SECONDS = 120.0
SETTLE_SECONDS = 65.0
"""Time after the chaos in which a leader must be found: the longest stall has to end first."""
READ_SECONDS = RELIST_SECONDS + 5.0
"""Age of an entry that every standby must have read, though a snapshot may have replaced it."""


class Inline(Executor):
    """Readers of entries that read at once, in the process that asks."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it is the future's
            future.set_exception(error)
        return future


class Replica:
    """The durable half of a machine."""

    def __init__(self) -> None:
        self.durable = Durable()

    def restore(self, durable: Durable) -> None:
        """Take the state of a snapshot."""
        self.durable = durable

    def apply(self, fact: Fact) -> None:
        """Take in one fact."""
        self.durable.apply(fact, Limits())


class JudgedStorage(MemoryStorage):
    """A store whose objects are judged as they appear."""

    def __init__(self, oracle: StandbyOracle, clock: Any) -> None:
        super().__init__(clock)
        self._oracle = oracle

    def put(self, uri: str, content: bytes, **how: Any) -> ObjectInfo:
        """Store an object in one step."""
        info = super().put(uri, content, **how)
        self._oracle.stored(uri, content)
        return info


@dataclass(frozen=True, slots=True)
class Make:
    """Classes of the parts under test, which mutants replace."""

    journal: type[Journal] = Journal
    follower: type[Follower] = Follower


class World:
    """One run."""

    def __init__(self, seed: int, make: Make) -> None:
        self.rng = Random(seed)
        self.rates = Rates.draw(self.rng)
        self.make = make
        self.timeline = Timeline()
        self.oracle = StandbyOracle()
        self.storage = JudgedStorage(self.oracle, SimClock(self, None))
        self.quiet = False
        self.muted_until = 0.0
        self.facts = 0
        self.masters = [SimMaster(self, number) for number in range(self.rates.masters)]

    def play(self) -> None:
        """Run the whole: chaos, then a quiet phase, in which one master stays dead."""
        try:
            self.timeline.after(1.0, self._second)
            for master in self.masters:
                self.timeline.after(self.rng.uniform(0.0, 3.0), master.boot)
            self.timeline.run_until(CHAOS_SECONDS)
            self._end_chaos()
            self.timeline.run_until(CHAOS_SECONDS + SETTLE_SECONDS)
            taken, number = self.oracle.taken, self.oracle.number
            assert len([one for one in self.masters if one.leads]) == 1, "one master leads"
            self.timeline.run_until(CHAOS_SECONDS + SETTLE_SECONDS + READ_SECONDS)
            assert self.oracle.taken == taken, "a leader that is well was replaced"
            assert self.oracle.number > number, "the leader works"
            self._check_end(number)
        finally:
            self.timeline.close()

    def _second(self) -> None:
        """Draw the faults of a second."""
        if self.quiet:
            return
        rng, rates = self.rng, self.rates
        master = rng.choice(self.masters)
        if rng.random() < rates.cut:
            master.cut_until = self.timeline.now + rng.choice((2.0, 9.0, 30.0))
        if rng.random() < rates.mute:
            self.muted_until = self.timeline.now + rng.choice((5.0, 30.0))
        if rng.random() < rates.crash:
            master.crash()
        if rng.random() < rates.jump:
            master.clock_ahead += rng.choice((1.0, 60.0, 3_600.0))
            master.wall_ahead = rng.choice((-1e6, 0.0, 1e6))
        self.timeline.after(1.0, self._second)

    def _end_chaos(self) -> None:
        self.quiet = True
        self.muted_until = 0.0
        for master in self.masters:
            master.cut_until = 0.0
        dead = self.rng.choice(self.masters)
        dead.crash()
        dead.is_dead = True

    def _check_end(self, old: int) -> None:
        """Check that standbys have read an old entry, and a new reader all of them."""
        for master in self.masters:
            if not master.is_dead:
                assert master.journal.number >= old, f"{master.address} has not read entry {old}"
        replica, journal = Replica(), self._reader()
        for read in journal.replay():
            journal.feed(read, replica)
        assert journal.number == self.oracle.number
        self.oracle.same(journal.number, replica.durable, "a replay")

    def _reader(self) -> Journal:
        return Journal(self.storage, STATE, "reader", SimClock(self, None), Inline)


class SimClock:
    """The clock of one master, or of the store."""

    def __init__(self, world: World, master: SimMaster | None) -> None:
        self._world = world
        self._master = master

    def monotonic(self) -> float:
        """Return the time, with the jumps of this master."""
        ahead = 0.0 if self._master is None else self._master.clock_ahead
        return self._world.timeline.now + ahead

    def wall(self) -> float:
        """Return the time of day as this master has it."""
        ahead = 0.0 if self._master is None else self._master.wall_ahead
        return 1.7e9 + self._world.timeline.now + ahead

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        assert self._master is not None
        assert self._master.process is not None
        self._master.process.wait(seconds)


class SimMaster:
    """A master, through all of its lives."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.address = f"m{number}:1"
        self.clock = SimClock(world, self)
        self.clock_ahead = self.wall_ahead = self.cut_until = self.frozen_until = 0.0
        self.is_dead = self.leads = False
        self.process: Process | None = None
        self.journal: Journal
        self._lives = 0

    def boot(self) -> None:
        """Begin a life, which stands by."""
        if self.is_dead or (self.process is not None and not self.process.ended):
            return
        self._lives += 1
        self.process = self.world.timeline.spawn(self._live)

    def crash(self) -> None:
        """Lose the process; it comes back later."""
        if self.process is not None:
            self.process.kill()
        self._gone()

    def _gone(self) -> None:
        self.leads = False
        self.world.timeline.after(self.world.rng.choice((1.0, 6.0, 20.0)), self.boot)

    def answers(self) -> bool:
        """Return whether it answers as a leader at this moment."""
        timeline = self.world.timeline
        return self.leads and timeline.now >= max(self.frozen_until, self.world.muted_until)

    # -- one life --------------------------------------------------------------------------------

    def _live(self, process: Process) -> None:
        # A store that is away for too long ends a process, too.
        with contextlib.suppress(FencedError, UnavailableError):
            self._stand_by_and_lead(process)
        self._gone()

    def _stand_by_and_lead(self, process: Process) -> None:
        world, name = self.world, f"{self.address}-{self._lives}"
        storage = FaultyStorage(world.storage, self._fault, hook=self._operate)
        self.journal = world.make.journal(storage, STATE, name, self.clock, Inline)
        replica = Replica()
        record = MasterRecord(
            master_id=name,
            address=self.address,
            role=MasterRole.STANDBY,
            host=self.address,
            process_id=1,
            started_at=0.0,
        )
        roster = Roster(storage, STATE, record, self.clock)
        lookout = Lookout(storage, STATE, roster, self._probe, self.address)
        follower = world.make.follower(
            self.journal,
            replica,
            lookout,
            roster,
            self.clock,
            on_turn=lambda: world.oracle.same(self.journal.number, replica.durable, "a standby"),
        )
        if follower.follow():
            world.oracle.leads(name, self.journal.epoch, replica.durable)
            self._lead(process, storage, replica, roster)

    def _lead(
        self, process: Process, storage: FaultyStorage, replica: Replica, roster: Roster
    ) -> None:
        world, journal = self.world, self.journal
        leader = Leader(cluster_id="c", epoch=journal.epoch, address=self.address)
        announce(storage, STATE, leader)
        self.leads = True
        compaction = Compaction()
        beat_at = float("-inf")
        while True:
            facts = self._work(replica)
            number = journal.number + 1
            due = compaction.entries >= world.rates.snapshot_entries
            draft = encode_snapshot(number, replica.durable) if due else None
            compaction.append(len(journal.append(facts)))
            world.oracle.acted(number, facts)
            if draft is not None:
                self._compact(number, draft, replica.durable.epochs[:])
                compaction.restart(len(draft))
            if self.clock.monotonic() - beat_at >= BEAT_SECONDS:
                beat_at = self.clock.monotonic()
                self._try(lambda: roster.beat(MasterRole.LEADER, journal.epoch, journal.number))
                self._try(roster.read)
                roster.sweep()
            if not world.quiet and world.rng.random() < world.rates.retire:
                retire(storage, STATE, leader)
                roster.leave()
                return
            process.wait(world.rng.expovariate(1.0 / world.rates.append_seconds))

    def _work(self, replica: Replica) -> list[Fact]:
        """Return facts of a step, which the state has taken in."""
        world = self.world
        world.facts += 1
        facts: list[Fact] = [WorkerJoined(f"w{world.facts}")]
        if len(replica.durable.workers) > 5:
            facts.append(WorkersLeft((next(iter(replica.durable.workers)),)))
        for fact in facts:
            replica.apply(fact)
        return facts

    def _compact(self, number: int, draft: bytes, epochs: list[int]) -> None:
        """Write a snapshot and delete what it stands for, as a thread beside the leader does."""
        snapshots = self.journal.snapshots
        self._try(lambda: snapshots.write(number, draft))
        self._try(lambda: snapshots.delete_covered(epochs, number))

    def _try(self, act: Callable[[], object]) -> None:
        with contextlib.suppress(UnavailableError):
            act()

    # -- what happens to it ----------------------------------------------------------------------

    def _operate(self, operation: str, uri: str) -> None:
        """Let an operation of the store take its time, or not arrive."""
        world, process, now = self.world, self.process, self.world.timeline.now
        assert process is not None
        claims = operation == "commit" and "/journal/" in uri and not self.leads
        stall = world.rates.late if claims else world.rates.stall
        if not world.quiet and world.rng.random() < stall:
            seconds = world.rng.choice((3.0, 15.0, 45.0))
            self.frozen_until = now + seconds
            process.wait(seconds)
        elif world.rates.latency_seconds and world.rng.random() < 0.5:
            process.wait(world.rng.expovariate(1.0 / world.rates.latency_seconds))
        if world.timeline.now < self.cut_until:
            process.wait(1.0)
            raise UnavailableError(f"{operation} of {uri} found no network.")

    def _fault(self, operation: str, uri: str, number: int) -> FaultKind | None:
        del uri, number
        world = self.world
        if world.quiet:
            return None
        if operation == "commit" and world.rng.random() < world.rates.lost:
            return FaultKind.AFTER
        return FaultKind.BEFORE if world.rng.random() < world.rates.failed else None

    def _probe(self, credentials: Credentials) -> bool:
        world = self.world
        other = next(one for one in world.masters if one.address == credentials.address)
        if world.timeline.now < world.muted_until or not other.answers():
            assert self.process is not None
            self.process.wait(0.2 if other.process is None or other.process.ended else 2.0)
            return False
        return True


@dataclass(frozen=True, slots=True)
class Played:
    """The result of a run."""

    problem: str
    taken: int
    acknowledged: int


def play(seed: int, make: Make | None = None) -> Played:
    """Play one seed; `problem` is empty where all was well."""
    world = World(seed, make or Make())
    try:
        world.play()
    except Exception as error:  # noqa: BLE001 - any error is what the seed has found
        return Played(f"{type(error).__name__}: {error}", world.oracle.taken, 0)
    return Played("", world.oracle.taken, world.oracle.acknowledged)
