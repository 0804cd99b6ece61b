"""A standby reads along, leaves a leader that is well in peace, and takes over by the journal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import msgspec
import pytest

from mrcore.errors import UnavailableError
from mrcore.master.core.durable import Durable
from mrcore.master.core.facts import EpochTaken, WorkerJoined
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.core.succession import SILENT_SECONDS
from mrcore.master.errors import FencedError
from mrcore.master.shell.follower import RELIST_SECONDS, Follower, Lookout
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.leader import announce, retire
from mrcore.master.shell.metrics import measured_standby
from mrcore.master.shell.roster import STALE_SECONDS, Roster
from mrcore.master.shell.snapshots import encode_snapshot
from mrcore.model import object_names
from mrcore.model.master import MasterRole
from mrcore.rpc.cluster import Credentials, Leader
from mrcore.rpc.masters import MasterRecord, master_views
from mrcore.storage.base import Storage
from mrcore.storage.faulty import FaultKind, FaultyStorage, script
from mrcore.storage.memory import MemoryStorage
from tests.support.fake_clock import FakeClock
from tests.support.journals import history_of, leader
from tests.support.scrape import documented, families, scrape, vitals

STATE = "mem://space/state"
STANDBY_FAMILIES = ("epoch", "role", "journal_entry", "behind_entries", "behind_seconds")


def record(name: str, address: str) -> MasterRecord:
    return MasterRecord(
        master_id=name,
        address=address,
        role=MasterRole.STANDBY,
        host="h",
        process_id=1,
        started_at=5.0,
    )


class Site:
    """A state in memory, a leader by hand, and a standby with what it sees."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.clock = FakeClock()
        self.answers = True
        self.fault: FaultKind | None = None
        self.asked: list[str] = []
        self.at: list[tuple[float, Callable[[], None]]] = []

    def lead(self, writer: str = "leader") -> tuple[Journal, Leader]:
        """Return the journal and the leader object of a master that has just taken over."""
        journal = Journal(self.storage, STATE, writer, self.clock)
        for _ in journal.take_over():
            pass
        made = leader(journal.epoch)
        announce(self.storage, STATE, made)
        return journal, made

    def standby(
        self, name: str = "standby", storage: Storage | None = None, address: str = "s:1"
    ) -> Follower:
        storage = storage or self.storage
        self.machine = Machine(Limits(), Random(0))
        self.journal = Journal(storage, STATE, name, self.clock)
        self.roster = Roster(storage, STATE, record(name, address), self.clock)
        lookout = Lookout(storage, STATE, self.roster, self.probe, "h")
        return Follower(
            self.journal, self.machine, lookout, self.roster, self.clock, on_turn=self.turn
        )

    def probe(self, credentials: Credentials) -> bool:
        self.asked.append(credentials.address)
        return self.answers

    def turn(self) -> None:
        """Do what is due by now."""
        while self.at and self.at[0][0] <= self.clock.now:
            self.at.pop(0)[1]()

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        self.at.append((self.clock.now + seconds, act))
        self.at.sort(key=lambda one: one[0])

    def die(self) -> None:
        self.answers = False

    def replayed(self) -> Durable:
        """Return the state that a new reader of the journal gets."""
        machine = Machine(Limits(), Random(0))
        journal = Journal(self.storage, STATE, "reader", self.clock)
        for read in journal.replay():
            journal.feed(read, machine)
        return machine.cluster.durable


def join(journal: Journal, number: int) -> None:
    journal.append([WorkerJoined(f"w{number}")])


def test_a_standby_has_all_entries_when_it_leads() -> None:
    site = Site()
    journal, _ = site.lead()
    follower = site.standby()
    for number in range(5):
        site.after(number + 1.0, partial(join, journal, number))
    site.after(6.0, site.die)
    begun = site.clock.now
    assert follower.follow()
    assert SILENT_SECONDS - 1.0 < site.clock.now - begun - 6.0 < SILENT_SECONDS + 3.0
    assert list(site.machine.cluster.durable.workers) == [f"w{n}" for n in range(5)]
    assert site.machine.cluster.durable == site.replayed()
    assert site.journal.epoch == site.machine.cluster.epoch == 7
    site.journal.append([WorkerJoined("next")])
    with pytest.raises(FencedError):
        journal.append([WorkerJoined("lost")])
    assert [one.writer for one in history_of(site.storage, STATE)][-2:] == ["standby", "standby"]


def test_a_standby_reports_how_far_it_is_behind() -> None:
    site = Site()
    journal, _ = site.lead()
    follower = site.standby(
        storage=FaultyStorage(site.storage, lambda *call: site.fault, error=UnavailableError)
    )
    seen = []

    def look() -> None:
        with measured_standby("127.0.0.1:0", follower.standing) as port:
            seen.append((vitals(port), scrape(port)))

    site.after(1.0, partial(join, journal, 1))
    site.after(20.0, look)
    site.after(20.1, lambda: setattr(site, "fault", FaultKind.BEFORE))
    site.after(60.0, look)
    site.after(61.0, follower.stop)
    assert not follower.follow()
    ((_, near), samples), ((status, far), late) = seen
    assert (near["role"], near["epoch"], near["entry"], near["behind_entries"]) == (
        ("standby", 1, 2, 0)
    )
    assert near["behind_seconds"] < 1.0 < 39.0 < far["behind_seconds"] < 41.0
    assert (status, far["healthy"]) == (200, True), "a restart would not help it"
    assert late["mrcore_master_behind_seconds", ()] == far["behind_seconds"]
    shown = families(samples, "mrcore_master_")
    assert shown == {f"mrcore_master_{name}" for name in STANDBY_FAMILIES}
    assert shown < documented("mrcore_master_")


def test_a_standby_with_the_address_of_the_leader_leads_at_once() -> None:
    site = Site()
    _, made = site.lead()
    site.die()
    follower = site.standby(address=made.address)
    begun = site.clock.now
    assert follower.follow()
    assert site.clock.now - begun < 1.0


def test_a_leader_that_is_seen_in_the_store_alone_is_not_replaced() -> None:
    site = Site()
    journal, made = site.lead()
    site.die()  # as the standby sees it: the network between them is cut
    roster = Roster(site.storage, STATE, record("leader", made.address), site.clock)
    follower = site.standby()

    def beat() -> None:
        roster.beat(MasterRole.LEADER, journal.epoch, journal.number)
        site.after(3.0, beat)

    beat()
    site.after(120.0, follower.stop)
    assert not follower.follow()
    assert not journal.fenced()


def test_a_leader_that_retires_is_replaced_at_once() -> None:
    site = Site()
    _, made = site.lead()
    follower = site.standby()
    site.after(5.0, lambda: retire(site.storage, STATE, made))
    site.after(5.0, site.die)
    begun = site.clock.now
    assert follower.follow()
    assert site.clock.now - begun < 7.0


def test_of_two_standbys_one_leads_and_the_other_follows_it() -> None:
    site = Site()
    site.lead()
    site.die()
    first = site.standby("first")
    assert first.follow()
    led = site.journal
    announce(site.storage, STATE, leader(led.epoch))
    site.answers = True
    second = site.standby("second")
    site.after(60.0, second.stop)
    assert not second.follow()
    assert not led.fenced()
    assert site.asked[-1] == f"host:{led.epoch}"


def test_a_take_over_that_comes_second_reads_on() -> None:
    """Two standbys see the same silence; one creates its entry just before the other."""
    site = Site()
    site.lead()
    site.die()
    beaten = False

    def overtake(operation: str, uri: str) -> None:
        nonlocal beaten
        if operation == "commit" and "/journal/" in uri and not beaten:
            beaten = True
            other, _ = site.lead("other")
            other.append([WorkerJoined("w")])
            site.answers = True
            site.after(30.0, follower.stop)

    follower = site.standby(storage=FaultyStorage(site.storage, script({}), hook=overtake))
    assert not follower.follow()
    assert beaten
    assert [one.writer for one in history_of(site.storage, STATE)] == ["leader", "other", "other"]
    assert list(site.machine.cluster.durable.workers) == ["w"]


def test_a_standby_that_lags_behind_a_snapshot_goes_on_from_it() -> None:
    site = Site()
    journal, _ = site.lead()
    follower = site.standby()

    def compact() -> None:
        """Let the leader go on while the standby does not read, and delete what it needs."""
        durable = site.replayed()
        for number in range(6):
            journal.append([WorkerJoined(f"w{number}")])
            durable.workers[f"w{number}"] = None
            journal.snapshots.write(journal.number, encode_snapshot(journal.number, durable))
        journal.snapshots.delete_covered(durable.epochs, journal.number)

    site.after(2.0, compact)
    site.after(2.0 + RELIST_SECONDS + 2.0, follower.stop)
    assert not follower.follow()
    assert len(list(site.storage.list(object_names.journal_prefix(STATE)))) < 5
    assert site.machine.cluster.durable == site.replayed()
    assert list(site.machine.cluster.durable.workers) == [f"w{n}" for n in range(6)]


def test_a_standby_without_a_store_waits() -> None:
    site = Site()
    journal, _ = site.lead()
    site.die()
    blocked = FaultyStorage(site.storage, lambda operation, uri, number: FaultKind.BEFORE)
    follower = site.standby(storage=blocked)
    site.after(300.0, follower.stop)
    assert not follower.follow()
    assert not journal.fenced()


def test_a_state_that_nobody_leads_is_led() -> None:
    site = Site()
    follower = site.standby()
    assert follower.follow()
    (entry,) = history_of(site.storage, STATE)
    assert isinstance(entry.facts[0], EpochTaken)
    assert site.machine.cluster.epoch == 1


def test_records_show_the_masters_and_are_swept() -> None:
    site = Site()
    _, made = site.lead()
    ours = Roster(site.storage, STATE, record("leader", made.address), site.clock)
    other = Roster(site.storage, STATE, record("other", "s:2"), site.clock)
    ours.beat(MasterRole.LEADER, 1, 7)
    other.beat(MasterRole.STANDBY, 1, 5, 2)
    views = master_views(ours.read(), made, site.clock.wall())
    assert [(view.address, view.role.value, view.entry, view.behind) for view in views] == [
        (made.address, "leader", 7, 0),
        ("s:2", "standby", 5, 2),
    ]
    assert ours.sweep() == 0
    site.clock.advance(STALE_SECONDS - 1)
    other.beat(MasterRole.STANDBY, 1, 6)
    ours.read()
    assert ours.sweep() == 0
    site.clock.advance(STALE_SECONDS)
    ours.read()
    assert ours.sweep() == 1
    assert [found.master_id for _, found in ours.read()] == ["leader"]
    former = msgspec.structs.replace(made, address="elsewhere:1")
    assert master_views(ours.read(), former, site.clock.wall()) == ()
    ours.leave()
    ours.beat(MasterRole.LEADER, 1, 8)
    assert ours.read() == ()
