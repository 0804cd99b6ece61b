"""A simulated master: the real machine in a shell that crashes, stalls and flushes late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import assert_never

from mrcore.master.core.commands import (
    CheckWinner,
    CleanUp,
    Command,
    DeleteValues,
    PlanJob,
    PrepareCommit,
    Reply,
    RunCommit,
    StepDown,
    Superseded,
)
from mrcore.master.core.events import Event, NothingDone, Stalled, Synced, Ticked
from mrcore.master.core.facts import EpochTaken, Fact
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine, Outcome
from mrcore.master.core.orders import (
    Cleaning,
    Deletion,
    Job,
    Order,
    Planning,
    Preparation,
    Publication,
    WinnerLookup,
    order,
)
from mrcore.master.core.outbox import Outbox
from mrcore.model.attempts import Assignment
from mrcore.model.commit_plan import CommitPlan
from mrcore.model.ids import AttemptId
from mrcore.model.remains import Remains
from mrcore.model.task import TaskRef
from tests.sim.jobs import SimJob
from tests.sim.oracle import Oracle
from tests.sim.workers import Response, SimWorker
from tests.sim.world import World

WALL = 1.7e9
LIMITS = Limits(prefetch_per_worker_max=8, losses_max=20)
STEPS_MAX = 60_000
"""Steps of one run, at most: more is a conversation that does not come to rest."""


@dataclass(slots=True)
class Life:
    """One process."""

    machine: Machine
    outbox: Outbox = field(default_factory=Outbox)
    writing: list[Fact] = field(default_factory=list)
    """The entry in flight."""
    owed: list[tuple[Command, int]] = field(default_factory=list)
    """Each command with the facts up to its own step: none may be obeyed before them."""
    replayed: int = 0
    """Facts of former masters in the journal."""
    facts: int = 0
    deaf_since: float | None = None
    unheard: list[Event] = field(default_factory=list)
    requests: dict[tuple[str, int, int], frozenset[AttemptId]] = field(default_factory=dict)
    """Attempts that each request listed: the shell sends work only for attempts not listed."""
    tick_at: float | None = None
    late_looks: list[tuple[str, Callable[[], None]]] = field(default_factory=list)
    """(job, act): looks of the committer that last until their job seems to be complete."""


Make = Callable[[Limits, Random], Machine]
"""Maker of the machine of a process."""


class SimMaster:
    """Processes that follow each other, and the journal that they share."""

    def __init__(
        self,
        world: World,
        jobs: dict[str, SimJob],
        workers: dict[str, SimWorker],
        make: Make,
        deliver: Callable[[str, Response], None],
    ) -> None:
        self.world = world
        self.jobs = jobs
        self.make = make
        self.deliver = deliver
        self.journal: list[Fact] = []
        self.oracle = Oracle(world, jobs, workers, LIMITS)
        self.life: Life | None = None
        self.remains: dict[str, Remains] = {}
        """Remains of jobs in the store."""
        self.steps = 0
        self.boot()

    # -- the process -----------------------------------------------------------------------------

    def replayed(self) -> Machine:
        """Return a machine that has read the journal and nothing else."""
        machine = self.make(LIMITS, Random(self.world.seed + len(self.journal)))
        for fact in self.journal:
            machine.apply(fact)
        return machine

    def boot(self) -> None:
        """Start a process: replay, take an epoch, take over."""
        if self.life is not None:
            return
        epoch = len(self.journal) + 1
        self.journal.append(EpochTaken(epoch, "sim", WALL + self.world.now))
        machine = self.replayed()
        self.life = Life(machine, replayed=len(self.journal))
        self.world.note(f"master takes epoch {epoch}")
        self.oracle.took_over(epoch, machine)
        self.oracle.sessions.took_over(self.journal)
        outcome = machine.take_over(epoch, self.world.now, WALL + self.world.now)
        self.oracle.sessions.after(outcome, machine)
        self._took(outcome)

    def crash(self) -> None:
        """Lose everything that is not flushed; of the append in flight any prefix may be there."""
        life = self.life
        if life is None:
            return
        self.oracle.crashed(life.machine)
        self.journal += life.writing[: self.world.rng.randint(0, len(life.writing))]
        self.life = None
        self.world.note("master crashes")
        self.world.at(self.world.rng.choice((0.2, 3.0, 20.0)), self.boot)

    def stall(self) -> None:
        """Hear nothing for a while, as a blocked loop does."""
        life = self.life
        if life is None or life.deaf_since is not None:
            return
        life.deaf_since = self.world.now
        self.world.note("master stalls")

        def wake() -> None:
            if self.life is not life or life.deaf_since is None:
                return
            seconds, life.deaf_since = self.world.now - life.deaf_since, None
            self.oracle.stalled(seconds)
            self.event(Stalled(seconds))
            unheard, life.unheard = life.unheard, []
            for event in unheard:
                self.event(event)

        self.world.at(self.world.rng.choice((2.0, 12.0, 30.0)), wake)

    def event(self, event: Event) -> None:
        """Step an event, if a process lives; a deaf one hears it later."""
        life = self.life
        if life is None:
            return
        if life.deaf_since is not None:
            life.unheard.append(event)
            return
        self.steps += 1
        assert self.steps < STEPS_MAX, "the conversation does not come to rest"
        if isinstance(event, Synced):
            key = (event.worker_id, event.session, event.sequence)
            life.requests[key] = frozenset(held.attempt for held in event.held)
        before = self.oracle.before(event, life.machine)
        outcome = life.machine.step(event, self.world.now)
        life.machine.check()
        self.world.note(f"{event} gives {outcome}")
        self.oracle.after(event, before, outcome, life.machine)
        self._took(outcome)

    # -- durability ------------------------------------------------------------------------------

    def _took(self, outcome: Outcome) -> None:
        life = self.life
        assert life is not None
        self._set_tick(life)
        for command in outcome.commands:
            if isinstance(command, PrepareCommit):  # the worst moment for a winner to be lost
                ends = partial(self._end_looks, life, command.job_id)
                self._after(self.world.rates.flush_seconds, ends)
        life.facts += len(outcome.facts)
        life.owed += [(command, life.facts) for command in outcome.commands]
        life.outbox.take(outcome)
        if not life.writing:
            self._flush(life)
        self._obey(life)

    def _flush(self, life: Life) -> None:
        life.writing = life.outbox.entry()
        if not life.writing:
            return

        def flushed() -> None:
            if self.life is not life:
                return
            self.journal += life.writing
            life.outbox.appended(len(life.writing))
            self._flush(life)
            self._obey(life)

        self.world.at(self.world.rng.expovariate(1.0 / self.world.rates.flush_seconds), flushed)

    def _set_tick(self, life: Life) -> None:
        due = life.machine.next_deadline()
        if due is None or (life.tick_at is not None and life.tick_at <= due):
            return
        life.tick_at = due

        def tick() -> None:
            if self.life is not life or life.tick_at != due:
                return
            life.tick_at = None
            if life.deaf_since is None:
                self.event(Ticked(WALL + self.world.now))
            else:
                self.world.at(1.0, lambda: self._set_tick(life))

        self.world.at(max(0.0, due - self.world.now), tick)

    # -- commands --------------------------------------------------------------------------------

    def _obey(self, life: Life) -> None:
        for command in life.outbox.release():
            first, facts = life.owed.pop(0)
            assert command is first, f"{command} overtakes {first}"
            durable = len(self.journal) - life.replayed
            assert facts <= durable, f"{command} is obeyed before its facts are durable"
            match command:
                case Reply():
                    self._reply(life, command)
                case Superseded() | StepDown():
                    pass  # the process it tells is gone; no higher epoch exists in one journal
                case DeleteValues():
                    for info in command.objects:
                        self.world.store.values.pop(info.uri, None)
                case PlanJob() | PrepareCommit() | RunCommit() | CleanUp() | CheckWinner():
                    self._take_up(life, command)
                case _:
                    assert_never(command)

    def _take_up(self, life: Life, command: Job) -> None:
        """Decide as the real committer does, then act: both take a while, and end in a crash."""

        def answer(event: Event) -> None:
            if self.life is life:
                self.event(event)

        def act(what: Order) -> None:
            if self.life is life:
                answer(self._acted(life, what))

        def decide() -> None:
            if self.life is not life:
                return
            what = order(life.machine.cluster, command)
            if isinstance(what, NothingDone):
                self.world.note(f"{command} was overtaken")
                answer(what)
                return
            if isinstance(what, Preparation):
                self.oracle.verified(life.machine, what.job.job_id)
            if isinstance(what, WinnerLookup) and what.command.attempt in self.world.store.runs:
                job_id = what.command.attempt.task.job_id
                life.late_looks.append((job_id, lambda: act(what)))
                self._after(60.0, lambda: self._end_looks(life, job_id))
            else:
                self._after(self.world.rates.look_seconds, lambda: act(what))

        self._after(0.05, decide)

    def _end_looks(self, life: Life, job_id: str) -> None:
        """Let late looks of a job end."""
        ended = [act for job, act in life.late_looks if job == job_id]
        life.late_looks = [look for look in life.late_looks if look[0] != job_id]
        for act in ended:
            act()

    def _after(self, mean: float, action: Callable[[], None]) -> None:
        self.world.at(self.world.rng.expovariate(1.0 / mean), action)

    def _reply(self, life: Life, reply: Reply) -> None:
        listed = life.requests.get((reply.worker_id, reply.session, reply.sequence), frozenset())
        slices: dict[AttemptId, dict[TaskRef, AttemptId]] = {}
        wanted = []
        for each in reply.wanted:
            if each.attempt not in listed:
                inputs = self._inputs(life, each)
                if inputs is None:
                    continue  # the machine is ahead of this answer: it will say it again
                slices[each.attempt] = inputs
            wanted.append(each)
        sent = Reply(
            reply.worker_id,
            reply.session,
            reply.sequence,
            tuple(wanted),
            reply.drain,
            reply.leave,
            reply.sync_seconds,
        )
        response = Response(sent, life.machine.cluster.epoch, slices)
        self.deliver(reply.worker_id, response)

    def _inputs(self, life: Life, wanted: Assignment) -> dict[TaskRef, AttemptId] | None:
        task = wanted.attempt.task
        record = life.machine.cluster.job(task.job_id)
        if record is None or record.state.final or not record.readable(task.stage):
            return None
        if record.calls is not None and not self.oracle.sessions.sent(wanted.attempt, life.machine):
            return None
        stage = record.stages[task.stage]
        if stage.version != wanted.inputs_version:
            return None
        return {
            TaskRef(read, winner.task.index): winner
            for read in stage.plan.inputs
            for winner in self.oracle.winner_ids(life.machine, task.job_id, read)
        }

    def _acted(self, life: Life, what: Order) -> Event:
        """Touch the store as the committer does; return its answer."""
        store, wall = self.world.store, WALL + self.world.now
        match what:
            case Planning():
                return what.planned(self.jobs[what.job.job_id].stages, 0)
            case Preparation():
                if what.attempts and self.world.chance(self.world.rates.lost_part):
                    store.parts.pop(self.world.rng.choice(what.attempts), None)
                    self.jobs[what.job.job_id].vanished += 1
                lost = [n for n, part in enumerate(what.attempts) if part not in store.parts]
                if lost:
                    return what.lost(lost, "staged parts are gone", wall)
                return what.prepared(CommitPlan(), wall)
            case Publication():
                self.oracle.published(life.machine, what.job.job_id, what.attempts)
                return what.published(wall)
            case Cleaning():
                left = what.remains()
                if left is not None:  # the object is only created
                    self.remains.setdefault(left.job_id, left)
                gone = [uri for uri, a in store.values.items() if a.task.job_id == what.job.job_id]
                for uri in gone:
                    del store.values[uri]
                return what.cleaned()
            case WinnerLookup():
                return self._looked(what)
            case Deletion():
                return what.deleted()
            case _:
                assert_never(what)

    def _looked(self, what: WinnerLookup) -> Event:
        """WinnerLookup for a run, which may vanish just before, though others have read it."""
        runs, attempt = self.world.store.runs, what.command.attempt
        if attempt in runs and self.world.rng.random() < 0.7:
            del runs[attempt]
            self.jobs[attempt.task.job_id].vanished += 1
        return what.seen(what.run.generation if attempt in runs else None)
