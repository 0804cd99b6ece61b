"""The shell of a simulated leader: events in, facts to the journal, then commands.

Outbox and orders are those of the real shell: so a command leaves in both at the same moment.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, assert_never

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
from mrcore.master.core.machine import Machine, Outcome
from mrcore.master.core.orders import Job, Preparation, WinnerLookup, order
from mrcore.master.core.outbox import Outbox
from mrcore.master.core.stalls import STALL_SECONDS, Stalls
from mrcore.master.shell.loop import HEARTBEAT_SECONDS
from mrcore.model.attempts import Assignment
from mrcore.model.ids import AttemptId
from mrcore.model.task import TaskRef
from mrcore.storage.base import ObjectInfo
from mrcore.util.clock import Clock
from tests.sim.oracles.history import COMPARED_EVERY
from tests.sim.oracles.machine import Oracle
from tests.sim.world.committing import Committing
from tests.sim.world.jobs import SimJob
from tests.sim.world.scene import Scene
from tests.sim.world.submitting import Submitting
from tests.sim.world.timeline import Process
from tests.sim.world.workers import Response
from tests.sim.world.world import World

if TYPE_CHECKING:
    from tests.sim.world.life import Life

LATE_SECONDS = 15.0
"""Mean time of a look that lasts until its job seems to be complete."""
STEPS_MAX = 60_000
"""Steps of one run, at most: more is a conversation that does not come to rest."""


class SimShell:
    """The shell of one process that leads."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.scene: Scene = life.scene
        self.world: World = life.world
        self.machine: Machine = life.machine
        self.clock: Clock = life.master.clock
        self.epoch = life.journal.epoch
        self.outbox = Outbox()
        self.oracle = Oracle(self.scene, self.clock, self.machine, self.epoch)
        self._committing = Committing(self)
        self._submitting = Submitting(self)
        self._owed: list[tuple[Command, int]] = []
        """Each command with the facts up to its own step: none may be obeyed before them."""
        self._facts = 0
        self._unheard: list[Event] = []
        self._requests: dict[tuple[str, int, int], frozenset[AttemptId]] = {}
        """Attempts that each request listed: the shell sends work only for attempts not listed."""
        self._tick_at: float | None = None
        self._late_looks: list[tuple[str, Callable[[], object]]] = []
        """(job, act): looks of the committer that last until their job seems to be complete."""
        self._stalls = Stalls()
        self._appends = 0
        """Count of the beginnings and ends of appends."""
        self._has_ended = False
        self._flushed: list[tuple[int, Process]] = []
        """Processes that wait until this number of facts is durable."""

    @property
    def lives(self) -> bool:
        """Return whether this process goes on."""
        return not self._has_ended

    @property
    def look_seconds(self) -> float:
        """Return the mean time of a look at the store, beside the time of its operations."""
        return 0.2 if self.world.calm else self.world.rates.look_seconds

    def begin(self) -> None:
        """Take over."""
        now, wall = self.clock.monotonic(), self.clock.wall()
        outcome = self.machine.take_over(self.epoch, now, wall)
        self.oracle.took_over(outcome, self.machine)
        self._take(outcome)

    def end(self) -> None:
        """Take note of the end of the process."""
        self._has_ended = True
        self.oracle.requests.end()

    # -- events ----------------------------------------------------------------------------------

    def event(self, event: Event) -> None:
        """Step an event; a process that is stopped hears it later."""
        if self._has_ended or self.life.is_stopping:
            return
        if self.life.master.is_frozen:
            self._unheard.append(event)
            return
        self._step(event)

    def _step(self, event: Event) -> None:
        scene, machine = self.scene, self.machine
        scene.steps += 1
        assert scene.steps < STEPS_MAX, "the conversation does not come to rest"
        if isinstance(event, Synced):
            key = (event.worker_id, event.session, event.sequence)
            self._requests[key] = frozenset(held.attempt for held in event.held)
        before = self.oracle.before(event, machine)
        outcome = machine.step(event, self.clock.monotonic())
        self.world.note(self.life.name, event, "gives", outcome)
        if scene.steps % scene.check_every == 0:
            machine.check()
        self.oracle.after(event, before, outcome, machine)
        self._take(outcome)

    def hear_unheard(self) -> None:
        """Step what came while the process was stopped."""
        unheard, self._unheard = self._unheard, []
        for event in unheard:
            self.event(event)

    def submit(self, job: SimJob) -> None:
        """Make a request a job, unless it is one."""
        if not self._has_ended and not self.life.is_stopping:
            self._submitting.submit(job)

    def stalled(self, seconds: float) -> None:
        """Make every lease longer by the time in which nobody could be heard."""
        new = self._stalls.take(self.clock.monotonic(), seconds)
        if not new:
            return
        self.oracle.requests.stalled(new)
        self._step(Stalled(new))
        self._tick_at = None
        self._set_tick()

    def _set_tick(self) -> None:
        due = self.machine.next_deadline()
        if due is None or (self._tick_at is not None and self._tick_at <= due):
            return
        self._tick_at = due

        def tick() -> None:
            if self._has_ended or self._tick_at != due:
                return
            self._tick_at = None
            if self.life.master.is_frozen:
                self.world.at(1.0, self._set_tick)
            elif self._is_due():
                self._step(Ticked(self.clock.wall()))
            else:
                self._set_tick()

        self.world.at(max(0.0, due - self.clock.monotonic()), tick)

    def _is_due(self) -> bool:
        """Return whether a deadline has come: events may have moved the one that was known."""
        due = self.machine.next_deadline()
        return due is not None and due <= self.clock.monotonic()

    # -- durability ------------------------------------------------------------------------------

    def _take(self, outcome: Outcome) -> None:
        self._set_tick()
        for command in outcome.commands:
            if isinstance(command, PrepareCommit):  # the worst moment for a winner to be lost
                ends = partial(self._end_looks, command.job_id)
                self.after(self.world.rates.flush_seconds, ends)
        self._facts += len(outcome.facts)
        self._owed += [(command, self._facts) for command in outcome.commands]
        self.outbox.take(outcome)
        if outcome.facts:
            self.life.wake()
        self._obey()

    def append_began(self) -> None:
        """Take note of an append: one that takes long is a stall."""
        self._stalls.append_began(self.clock.monotonic())
        self._appends += 1
        self.world.at(STALL_SECONDS + 0.01, partial(self._look_at_append, self._appends))

    def _look_at_append(self, append: int) -> None:
        if not self._has_ended and append == self._appends:
            if not self.life.master.is_frozen:
                self.stalled(0.0)
            self.world.at(HEARTBEAT_SECONDS, partial(self._look_at_append, append))

    def appended(self, facts: int) -> None:
        """Obey what waited for the append."""
        self._appends += 1
        self._stalls.append_ended(self.clock.monotonic())
        self.outbox.appended(facts)
        if self.outbox.durable:
            self._judge_memory()
        self._obey()
        waiting, self._flushed = self._flushed, []
        for number, process in waiting:
            if number <= self.outbox.flushed:
                process.wake()
            else:
                self._flushed.append((number, process))

    def _judge_memory(self) -> None:
        """Compare what is in memory with what the entries make, after some: a difference stays."""
        number = self.life.journal.number
        if number % COMPARED_EVERY == 0:
            durable = self.machine.cluster.durable
            self.scene.history.same(number, durable, "what a leader has in memory")

    def await_flush(self, process: Process) -> None:
        """Wait, in a process, until all that the machine has given is durable."""
        if not self.outbox.durable:
            self._flushed.append((self.outbox.recorded, process))
            process.park()

    # -- commands --------------------------------------------------------------------------------

    def _obey(self) -> None:
        for command in self.outbox.release():
            first, facts = self._owed.pop(0)
            assert command is first, f"{command} overtakes {first}"
            assert facts <= self.outbox.flushed, f"{command} is obeyed before its facts are durable"
            match command:
                case Reply():
                    self._reply(command)
                case StepDown():
                    self.life.wake(doubt=True)
                case Superseded():
                    pass  # the process that it tells is gone
                case (
                    PlanJob()
                    | PrepareCommit()
                    | RunCommit()
                    | CleanUp()
                    | CheckWinner()
                    | DeleteValues()
                ):
                    self._take_up(command)
                case _:
                    assert_never(command)

    def _take_up(self, command: Job) -> None:
        """Decide as the real committer does, then act: both take a while, and end in a crash."""

        def decide() -> None:
            if self._has_ended:
                return
            what = order(self.machine.cluster, command)
            if isinstance(what, NothingDone):
                self.world.note(command, "was overtaken")
                self.event(what)
                return
            if isinstance(what, Preparation):
                self.oracle.verified(self.machine, what.job.job_id)
            act = partial(self._committing.carry_out, command, what)
            if isinstance(what, WinnerLookup) and self.scene.store.is_there(what.run.uri):
                job_id = what.command.attempt.task.job_id
                self._late_looks.append((job_id, act))
                self.after(LATE_SECONDS, lambda: self._end_looks(job_id))
            else:
                self.after(self.look_seconds, act)

        self.after(0.05, decide)

    def _end_looks(self, job_id: str) -> None:
        """Let late looks of a job end."""
        ended = [act for job, act in self._late_looks if job == job_id]
        self._late_looks = [look for look in self._late_looks if look[0] != job_id]
        for act in ended:
            act()

    def after(self, mean: float, action: Callable[[], object]) -> None:
        """Do something after a while, if the process lives then."""

        def act() -> None:
            if not self._has_ended:
                action()

        self.world.at(self.world.rng.expovariate(1.0 / mean), act)

    # -- answers ---------------------------------------------------------------------------------

    def _reply(self, reply: Reply) -> None:
        listed = self._requests.get((reply.worker_id, reply.session, reply.sequence), frozenset())
        slices: dict[AttemptId, dict[TaskRef, ObjectInfo]] = {}
        wanted = []
        for each in reply.wanted:
            if each.attempt not in listed:
                inputs = self._inputs(each)
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
        response = Response(sent, self.machine.cluster.epoch, slices)
        worker = self.scene.workers[reply.worker_id]
        name = self.life.master.name
        self.world.send(name, worker.name, lambda: worker.receive(response))

    def _inputs(self, wanted: Assignment) -> dict[TaskRef, ObjectInfo] | None:
        task = wanted.attempt.task
        record = self.machine.cluster.job(task.job_id)
        if record is None or record.state.final or not record.readable(task.stage):
            return None
        if record.calls is not None and not self.oracle.sent(wanted.attempt):
            return None
        stage = record.stages[task.stage]
        if stage.version != wanted.inputs_version:
            return None
        return {
            TaskRef(read, index): each.output.object
            for read in stage.plan.inputs
            for index, each in enumerate(record.stages[read].tasks)
            if each.output is not None and each.output.object is not None
        }
