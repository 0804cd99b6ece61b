"""One process of a simulated master: it starts or stands by, leads, and keeps its journal.

Journal, snapshots, follower, succession, roster and leader object are the real ones. The threads of
the process are processes of the timeline, which end together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Executor, Future
from random import Random
from typing import TYPE_CHECKING, Any

from mrcore.errors import StorageError, UnavailableError
from mrcore.master.core.compaction import Compaction, Packing
from mrcore.master.core.succession import BEAT_SECONDS
from mrcore.master.errors import FencedError
from mrcore.master.shell.compactor import Draft
from mrcore.master.shell.entries import FORMAT, Entry, encode_entry
from mrcore.master.shell.follower import Lookout
from mrcore.master.shell.leader import announce, retire
from mrcore.master.shell.loop import FENCE_SECONDS
from mrcore.master.shell.roster import Roster
from mrcore.master.shell.snapshots import encode_snapshot
from mrcore.model.master import MasterRole
from mrcore.rpc.cluster import Credentials, Leader
from mrcore.rpc.masters import MasterRecord
from tests.sim.oracles.history import LIMITS, STATE
from tests.sim.world.scene import Scene
from tests.sim.world.shell import SimShell
from tests.sim.world.timeline import Process

if TYPE_CHECKING:
    from mrcore.master.core.facts import Fact
    from tests.sim.world.masters import SimMaster


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


class Life:
    """One process."""

    def __init__(self, master: SimMaster, name: str) -> None:
        self.master = master
        self.name = name
        self.scene: Scene = master.scene
        self.world = self.scene.world
        parts, view = self.scene.parts, self.scene.view
        self.journal = parts.journal(view, STATE, name, master.clock, Inline)
        self.journal.snapshots = parts.snapshots(view, STATE)
        self.journal.packs = parts.packs(view, STATE)
        self.machine = parts.machine(LIMITS, Random(f"{self.world.seed} {name}"))
        record = MasterRecord(
            master_id=name,
            address=master.address,
            role=MasterRole.STANDBY,
            host=name,
            process_id=1,
            started_at=0.0,
        )
        self.roster = Roster(view, STATE, record, master.clock)
        self.shell: SimShell | None = None
        """The shell of its machine, while it leads."""
        self.is_stopping = False
        """It was asked to stop in an orderly way."""
        self._processes: list[Process] = []
        rates = self.world.rates.store
        self._compaction = Compaction()
        self._packing = Packing(step=rates.pack_step, entries_max=rates.pack_entries)
        self._compacting: Process | None = None
        self._is_waiting = self._is_in_doubt = self._is_beating = False
        self._checked = -1
        self._main = self.spawn(self._live)

    def spawn(self, body: Callable[[Process], None]) -> Process:
        """Begin a thread of this process."""
        process = Process(self.world.timeline, body, self.master)
        self._processes = [each for each in self._processes if not each.ended]
        self._processes.append(process)
        return process

    def end(self) -> None:
        """End it where it is."""
        if self.shell is not None:
            self.shell.end()
            self.shell = None
        for process in self._processes:
            process.kill()
        self.master.gone(self)

    def _live(self, process: Process) -> None:
        try:
            self._stand_by_and_lead(process)
        except (FencedError, UnavailableError) as error:
            # A store that is away for too long ends a process, too.
            self.world.note(self.name, "ends:", error)
        self.end()

    def _stand_by_and_lead(self, process: Process) -> None:
        journal, machine, clock = self.journal, self.machine, self.master.clock
        if self.world.scale.masters > 1:
            view = self.scene.view
            lookout = Lookout(view, STATE, self.roster, self._probe, self.name)
            follower = self.scene.parts.follower(
                journal, machine, lookout, self.roster, clock, on_turn=self._check_copy
            )
            if not follower.follow():
                return
        else:
            for read in journal.take_over():
                journal.feed(read, machine)
        durable = machine.cluster.durable
        self.scene.history.leads(self.name, journal.epoch, durable)
        self.world.note(self.name, "leads with epoch", journal.epoch)
        leader = Leader(cluster_id="c", epoch=journal.epoch, address=self.master.address)
        announce(self.scene.view, STATE, leader)
        self.shell = SimShell(self)
        lives = [each.life for each in self.scene.masters.values()]
        shells = [life.shell for life in lives if life is not None]
        self.scene.history.acts(shell.epoch for shell in shells if shell is not None)
        self.shell.begin()
        beat = self.spawn(self._beat) if self.world.scale.masters > 1 else None
        self._flush(process)
        retire(self.scene.view, STATE, leader)
        while self._is_beating:  # the roster's lock would stop the time of all
            process.wait(BEAT_SECONDS / 10)
        if beat is not None:
            beat.kill()
        self.roster.leave()

    def _probe(self, credentials: Credentials) -> bool:
        return self.scene.masters[credentials.address].answers()

    def _check_copy(self) -> None:
        """Check what a standby has read."""
        if self.journal.number != self._checked:
            self._checked = self.journal.number
            durable = self.machine.cluster.durable
            self.scene.history.same(self.journal.number, durable, "a standby")

    def _beat(self, process: Process) -> None:
        """Leave signs of life, and sweep those of masters that are gone."""
        while True:
            journal = self.journal
            self._is_beating = True
            with contextlib.suppress(StorageError):
                self.roster.beat(MasterRole.LEADER, journal.epoch, journal.number)
                self.roster.read()
                self.roster.sweep()
            self._is_beating = False
            process.wait(BEAT_SECONDS)

    # -- the journal -----------------------------------------------------------------------------

    def wake(self, *, doubt: bool = False) -> None:
        """Have facts written down, or have it looked up who leads."""
        self._is_in_doubt |= doubt
        if self._is_waiting:
            self._is_waiting = False
            self._main.wake()

    def _flush(self, process: Process) -> None:
        """Write down facts as they come, until this master is stopped and all of them are there."""
        shell = self.shell
        assert shell is not None
        while True:
            if shell.outbox.facts:
                self._append(shell, shell.outbox.entry())
                continue
            if self.is_stopping:
                return
            self._is_waiting = True
            process.wait(FENCE_SECONDS)
            timely, self._is_waiting = not self._is_waiting, False
            if shell.outbox.facts or (timely and not self._is_in_doubt):
                continue
            self._is_in_doubt = False
            with contextlib.suppress(UnavailableError):
                if self.journal.fenced():
                    raise FencedError("Another master has taken over.")

    def _append(self, shell: SimShell, facts: list[Fact]) -> None:
        number, parts = self.journal.number + 1, self.scene.parts
        due = self._compaction.entries + 1 >= self.world.rates.store.snapshot_entries
        due = due and (self._compacting is None or self._compacting.ended)
        # Only now is the state in memory that after this entry, and nothing more.
        draft = self._draft(number) if due and not parts.encodes_late else None
        shell.append_began()
        if parts.packs_early:
            self.journal.packs.write(number, [encode_entry(self._next_entry(facts))])
        content = self.journal.append(facts)
        self.scene.history.acted(number, facts)
        self._compaction.append(len(content))
        self._packing.append(number, content)
        if due:
            draft = draft or self._draft(number)
            self._compaction.restart(len(draft.content))
            self._compacting = self.spawn(lambda process: self._compact(draft))
        elif self._packing.is_due() and (self._compacting is None or self._compacting.ended):
            first, contents = self._packing.first, list(self._packing.contents)
            self._packing.given()
            self._compacting = self.spawn(lambda process: self._pack(first, contents))
        shell.appended(len(facts))

    def _next_entry(self, facts: list[Fact]) -> Entry:
        """Return the entry that is about to be created."""
        journal = self.journal
        epoch = journal.epoch
        return Entry(journal.number + 1, epoch, self.name, tuple(facts), FORMAT, after=epoch)

    def _draft(self, number: int) -> Draft:
        durable = self.machine.cluster.durable
        return Draft(number, encode_snapshot(number, durable), frozenset(durable.epochs))

    def _compact(self, draft: Draft) -> None:
        """Write a snapshot, and delete what it stands for."""
        snapshots = self.journal.snapshots
        with contextlib.suppress(UnavailableError):
            snapshots.write(draft.number, draft.content)
            if self.world.chance(self.world.rates.store.damage):
                self.scene.store.damage_newest_snapshot()
            snapshots.delete_covered(draft.epochs, draft.number)
            self.journal.packs.delete_covered(snapshots.covered_to())
            # Else a former leader may write late, and what could not be deleted waits.
            if self.world.scale.masters == 1 and self.world.rates.store.is_reliable:
                self.scene.history.judge_compaction(self.scene.store.names(STATE), draft.number)

    def _pack(self, first: int, contents: list[bytes]) -> None:
        """Copy entries into a pack."""
        with contextlib.suppress(UnavailableError):
            self.journal.packs.write(first, contents)
            if self.world.chance(self.world.rates.store.damage):
                self.scene.store.damage_newest_pack()

    # -- what happens to it ----------------------------------------------------------------------

    def stop(self) -> None:
        """Stop in an orderly way, if it leads."""
        if self.shell is not None and not self.is_stopping:
            self.world.note(self.name, "is asked to stop")
            self.is_stopping = True
            self.wake()

    def stalled(self, seconds: float) -> None:
        """Take note that nobody could be heard for a while."""
        if self.shell is not None:
            self.shell.stalled(seconds)
            self.wake(doubt=True)

    def thaw(self, seconds: float) -> None:
        """Go on after a stop: what has come meanwhile is heard now."""
        if self.shell is not None:
            self.stalled(seconds)
            self.shell.hear_unheard()
