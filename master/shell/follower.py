"""A standby: a replay of the journal that goes on, and the wait for the end of the leader.

Its machine takes in each entry as it comes, so it can lead at once. It leads only with an entry of
its own in the journal, whose number nobody else has. That entry also fences the former leader.
So whatever a standby believes of the leader, at most one master acts.

Every method blocks; all but `stop` are called from one thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from mrcore.daemon.collector import collecting_later
from mrcore.errors import StorageError
from mrcore.master.core.succession import BEAT_SECONDS, Sight, Succession
from mrcore.master.shell.journal import Journal, Replica
from mrcore.master.shell.leader import read_leader
from mrcore.master.shell.roster import Roster
from mrcore.master.shell.standing import Standing
from mrcore.model import object_names
from mrcore.model.master import MasterRole
from mrcore.rpc.cluster import Credentials, Leader, credentials_of
from mrcore.storage.base import Storage
from mrcore.storage.places import Reach
from mrcore.util.clock import Clock

log = logging.getLogger("mrcore.master")

LOOK_SECONDS: Final = 0.5
"""Time between two looks at the leader."""
SHORTEST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 0.5
"""Bounds of the pause before the next entry is asked for; it doubles while there is none."""
RELIST_SECONDS: Final = 30.0
"""Time without an entry after which the journal is listed: a snapshot may have replaced some."""
BEAT_EVERY: Final = 1_000
"""Entries of a long replay between two looks at the clock."""

Probe = Callable[[Credentials], bool]
"""Question to a master: does it answer as a leader? It blocks for some seconds at most, and finds
the token itself."""


class Lookout:
    """View of one master of the leader of its state."""

    def __init__(
        self, storage: Storage, state_uri: str, roster: Roster, probe: Probe, host: str
    ) -> None:
        self._storage = storage
        self._state_uri = state_uri
        self._roster = roster
        self._probe = probe
        self._host = host
        self.leader: Leader | None = None
        """The leader object, as it was read last."""

    def read_leader(self) -> None:
        """Read the leader object. Raises StorageError."""
        self.leader, _ = read_leader(self._storage, self._state_uri)

    def look(self, journal: Journal) -> Sight:
        """Return what there is to see of the leader. Raises StorageError.

        The store is asked only about a leader that does not answer.
        """
        if self.leader is None or self.leader.epoch < journal.epoch:
            self.read_leader()
        if self._answers():
            return self._sight(journal, answers=True)
        silent = self.leader
        self.read_leader()
        if self.leader != silent and self._answers():  # another one leads since
            return self._sight(journal, answers=True)
        beat = ""
        address = "" if self.leader is None else self.leader.address
        # Nobody else is at an address that this process listens at: the leader was a former one.
        gone = address == self._roster.record.address
        for info, record in self._roster.read():
            if record.role is MasterRole.LEADER and record.address == address:
                beat += f" {info.generation}"
                gone = gone or (record.host == self._host and self._is_unlocked())
        return self._sight(journal, answers=False, beat=beat, gone=gone)

    def _answers(self) -> bool:
        leader = self.leader
        if leader is None or not leader.serving:
            return False
        return self._probe(credentials_of(leader, self._state_uri))

    def _is_unlocked(self) -> bool:
        """Return whether nobody on this machine holds the state, as a leader does."""
        if self._storage.reach is not Reach.MACHINE:
            return False
        return not self._storage.is_locked(object_names.lock_uri(self._state_uri))

    def _sight(
        self, journal: Journal, *, answers: bool, beat: str = "", gone: bool = False
    ) -> Sight:
        leader = self.leader
        return Sight(
            answers=answers,
            leader_epoch=0 if leader is None else leader.epoch,
            retired=leader is not None and not leader.serving,
            gone=gone,
            epoch=journal.epoch,
            entry=journal.number,
            beat=beat,
        )


class Follower:
    """One standby, from its first replay to its own entry in the journal."""

    def __init__(
        self,
        journal: Journal,
        replica: Replica,
        lookout: Lookout,
        roster: Roster,
        clock: Clock,
        *,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; `on_turn` is called in each turn of the wait, and in a long replay."""
        self._journal = journal
        self._replica = replica
        self._lookout = lookout
        self._roster = roster
        self._clock = clock
        self._on_turn = on_turn
        self._succession = Succession(clock.monotonic())
        self._stopped = False
        self._pause = SHORTEST_PAUSE_SECONDS
        self._is_current = False
        """Whether the end of the journal was reached since the latest entry."""
        self._current_at = clock.monotonic()
        """Time at which it had read all that was there."""
        self._beat_at = self._look_at = float("-inf")
        self._listed_at = clock.monotonic()
        self._is_blind = False

    def standing(self) -> Standing:
        """Return how far this standby has read; from any thread."""
        return Standing(
            MasterRole.STANDBY,
            self._journal.epoch,
            self._journal.number,
            0 if self._is_current else self._roster.record.behind,
            max(0.0, self._clock.monotonic() - self._current_at),
        )

    def stop(self) -> None:
        """Have `follow` return soon; from any thread."""
        self._stopped = True

    def follow(self) -> bool:
        """Read along until this master leads; return False if it was stopped before."""
        with collecting_later():
            self._patiently(self._catch_up)
        while not self._stopped:
            self._on_turn()
            if self._patiently(self._turn):
                return True
            self._clock.sleep(self._pause)
        return False

    def _patiently(self, act: Callable[[], bool]) -> bool:
        """Act; return False where the store does not answer, which shows nothing of the leader."""
        try:
            result = act()
        except StorageError as error:
            if not error.retryable:
                raise
            if not self._is_blind:
                log.warning("the store does not answer", extra={"error": str(error)})
            self._is_blind = True
            self._succession.blind(self._clock.monotonic())
            self._pause = LONGEST_PAUSE_SECONDS
            return False
        self._is_blind = False
        return result

    def _turn(self) -> bool:
        """Read what is new, look at the leader when it is time; return whether this one leads."""
        if self._read_next():
            self._pause = SHORTEST_PAUSE_SECONDS
        else:
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self.beat_if_due()
        now = self._clock.monotonic()
        if now - self._listed_at >= RELIST_SECONDS or not self._journal.number:
            self._catch_up()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_SECONDS
        sight = self._lookout.look(self._journal)
        return self._succession.look(sight, self._clock.monotonic()) and self._take_over()

    def _read_next(self) -> bool:
        """Take in the entries that follow one by one; return whether there was one."""
        found = False
        while self._journal.number and (entry := self._journal.next()) is not None:
            self._is_current = False
            self._journal.feed(entry, self._replica)
            found = True
            self.beat_if_due()
        self._reached_end()
        if found:
            self._listed_at = self._clock.monotonic()
        return found

    def _catch_up(self) -> bool:
        """Take in all that is listed; a snapshot may take the place of what was read."""
        self._is_current = False
        for count, read in enumerate(self._journal.replay()):
            self._journal.feed(read, self._replica)
            if count % BEAT_EVERY == 0:
                self._on_turn()
                self.beat_if_due()
        self._reached_end()
        self._listed_at = self._clock.monotonic()
        return False

    def _reached_end(self) -> None:
        self._is_current = True
        self._current_at = self._clock.monotonic()

    def _take_over(self) -> bool:
        """Make this master the leader, unless the journal shows that somebody leads."""
        number, epoch = self._journal.number, self._journal.epoch
        self._catch_up()
        if (self._journal.number, self._journal.epoch) != (number, epoch):
            return False  # somebody writes; the next look sees how it goes on
        entry = self._journal.claim()
        if entry is None:
            log.info("another master was faster, or the leader lives")
            self._catch_up()
            return False
        self._journal.feed(entry, self._replica)
        return True

    def beat_if_due(self) -> None:
        """Write this master's record, if the last one is old. Raises StorageError."""
        now = self._clock.monotonic()
        if now < self._beat_at:
            return
        self._beat_at = now + BEAT_SECONDS
        journal, behind = self._journal, 0
        if not self._is_current:
            behind = max(0, journal.newest_number() - journal.number)
        self._roster.beat(MasterRole.STANDBY, journal.epoch, journal.number, behind)
