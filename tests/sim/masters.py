"""A simulated master: the real machine in a shell that crashes, stalls and flushes late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import assert_never

from master import views
from master.commands import (
    CheckWinner,
    CleanUp,
    Command,
    PrepareCommit,
    Reply,
    RunCommit,
    StepDown,
    Superseded,
)
from master.events import (
    CleanedUp,
    CommitFinished,
    CommitPrepared,
    CommitRefused,
    Event,
    Stalled,
    Synced,
    Ticked,
    WinnerMissing,
)
from master.facts import EpochTaken, Fact
from master.limits import Limits
from master.machine import Machine, Outcome
from mrcore.ids import AttemptId, Phase
from tests.sim.jobs import SimJob
from tests.sim.oracle import Oracle
from tests.sim.workers import Response
from tests.sim.world import World

WALL = 1.7e9
LIMITS = Limits(prefetch_per_worker_max=8, losses_max=20)
STEPS_MAX = 60_000
"""Of one run: more is a conversation that does not come to rest."""


@dataclass(slots=True)
class Life:
    """One process."""

    machine: Machine
    pending: list[Outcome] = field(default_factory=list)
    """Not flushed yet, nor are the commands of their steps obeyed."""
    in_flight: list[Outcome] = field(default_factory=list)
    deaf_since: float | None = None
    unheard: list[Event] = field(default_factory=list)
    requests: dict[tuple[str, int, int], frozenset[AttemptId]] = field(default_factory=dict)
    """What each request listed: the shell sends work only for attempts not listed."""
    tick_at: float | None = None


class SimMaster:
    """Processes that follow each other, and the journal that they share."""

    def __init__(
        self,
        world: World,
        jobs: dict[str, SimJob],
        make: type[Machine],
        deliver: Callable[[str, Response], None],
    ) -> None:
        self.world = world
        self.jobs = jobs
        self.make = make
        self.deliver = deliver
        self.journal: list[Fact] = []
        self.oracle = Oracle(world, jobs, LIMITS)
        self.life: Life | None = None
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
        self.life = Life(machine)
        self.world.note(f"master takes epoch {epoch}")
        self.oracle.took_over(epoch)
        outcome = machine.take_over(epoch, self.world.now, WALL + self.world.now)
        self._took(outcome)

    def crash(self) -> None:
        """Lose everything that is not flushed; of the append in flight any prefix may be there."""
        life = self.life
        if life is None:
            return
        facts = [fact for outcome in life.in_flight for fact in outcome.facts]
        self.journal += facts[: self.world.rng.randint(0, len(facts))]
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
        if not outcome.facts and not life.pending and not life.in_flight:
            self._obey(life, outcome.commands)
            return
        life.pending.append(outcome)
        if not life.in_flight:
            self._flush(life)

    def _flush(self, life: Life) -> None:
        life.in_flight, life.pending = life.pending, []

        def flushed() -> None:
            if self.life is not life:
                return
            done, life.in_flight = life.in_flight, []
            for outcome in done:
                self.journal += outcome.facts
            if life.pending:
                self._flush(life)
            for outcome in done:
                if self.life is life:
                    self._obey(life, outcome.commands)

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

    def _obey(self, life: Life, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Reply():
                    self._reply(life, command)
                case Superseded() | StepDown():
                    pass  # the process it tells is gone; no higher epoch exists in one journal
                case CheckWinner():
                    self._later(life, 0.5, self._check_winner(command.attempt))
                case PrepareCommit():
                    self._later(life, 0.5, self._prepare(life, command.job_id))
                case RunCommit():
                    self._later(life, 1.0, self._publish(life, command.job_id))
                case CleanUp():
                    self._later(life, 0.5, partial(CleanedUp, command.job_id))
                case _:
                    assert_never(command)

    def _later(self, life: Life, mean: float, look: Callable[[], Event | None]) -> None:
        """Answer a command after a while, unless the process dies before."""

        def answer() -> None:
            if self.life is life:
                event = look()
                if event is not None:
                    self.event(event)

        self.world.at(self.world.rng.expovariate(1.0 / mean), answer)

    def _reply(self, life: Life, reply: Reply) -> None:
        listed = life.requests.get((reply.worker_id, reply.session, reply.sequence), frozenset())
        slices: dict[AttemptId, dict[int, AttemptId]] = {}
        wanted = []
        for each in reply.wanted:
            if each.attempt.task.phase is Phase.REDUCE and each.attempt not in listed:
                inputs = self._inputs(life, each.attempt.task.job_id)
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
        response = Response(sent, life.machine.epoch, slices)
        self.deliver(reply.worker_id, response)

    def _inputs(self, life: Life, job_id: str) -> dict[int, AttemptId] | None:
        outputs = views.winners(life.machine, job_id, Phase.MAP)
        if any(output is None for output in outputs):
            return None
        return dict(enumerate(self.oracle.winner_ids(life.machine, job_id, Phase.MAP)))

    def _check_winner(self, attempt: AttemptId) -> Callable[[], Event | None]:
        return lambda: None if attempt in self.world.store.runs else WinnerMissing(attempt)

    def _parts(self, life: Life, job_id: str) -> list[AttemptId]:
        phase = Phase.REDUCE if self.jobs[job_id].reduces else Phase.MAP
        return self.oracle.winner_ids(life.machine, job_id, phase)

    def _prepare(self, life: Life, job_id: str) -> Callable[[], Event | None]:
        def look() -> Event | None:
            record = life.machine.job(job_id)
            if record is None or record.state.final or not record.complete:
                return CommitPrepared(job_id, ())
            parts = self._parts(life, job_id)
            if parts and self.world.chance(self.world.rates.lost_part):
                self.world.store.parts.pop(self.world.rng.choice(parts), None)
                self.jobs[job_id].vanished += 1
            lost = tuple(part for part in parts if part not in self.world.store.parts)
            if lost:
                return CommitRefused(job_id, "staged parts are gone", lost)
            return CommitPrepared(job_id, ())

        return look

    def _publish(self, life: Life, job_id: str) -> Callable[[], Event | None]:
        def publish() -> Event | None:
            record = life.machine.job(job_id)
            assert record is not None
            if record.state.final:
                return None
            self.oracle.published(life.machine, job_id, self._parts(life, job_id))
            return CommitFinished(job_id, WALL + self.world.now)

        return publish
