"""A random walk of clients, workers and masters through calls, by seed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from mrcore.master.core.commands import DeleteValues, Reply
from mrcore.master.core.durable import Durable
from mrcore.master.core.durable_calls import output_of
from mrcore.master.core.events import (
    CallsDone,
    CallsSent,
    CallsUnwanted,
    CloseAsked,
    Event,
    Submitted,
    Synced,
    Ticked,
)
from mrcore.master.core.facts import CallFailed, CallsCancelled, EpochTaken, Fact, TaskWon
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine, Outcome
from mrcore.model.attempts import AttemptState, HeldAttempt
from mrcore.model.calls import CallPlan
from mrcore.model.ids import AttemptId, TaskId
from mrcore.model.job import JobSpec, Session
from mrcore.model.stages import Calls, Result, StagePlan
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput, TaskResult
from mrcore.storage.base import ObjectInfo
from tests.support.specs import NO_VERSIONS, call_spec

STAGES = (StagePlan(0, Calls(), Result()),)
LIMITS = Limits(prefetch_per_worker_max=8, void_entries_max=10)


def spec_of_session(name: str, retries: int = 0, **changes: object) -> JobSpec:
    """Return the description of a session."""
    return call_spec(name, Session(retries=retries), versions=NO_VERSIONS, **changes)


class Hands:
    """A worker: what it holds, and the results that its master has not accounted for."""

    def __init__(self) -> None:
        self.session = 1
        self.sequence = 0
        self.held: dict[AttemptId, AttemptState] = {}
        self.results: dict[AttemptId, TaskResult] = {}


class Walk:
    """Masters one after the other, their clients and workers."""

    def __init__(
        self,
        rng: Random,
        make: Callable[[Limits, Random], Machine] = Machine,
        workers: int = 3,
    ) -> None:
        self.rng = rng
        self.now = 0.0
        self.facts: list[Fact] = []
        self.workers = {f"w{number}": Hands() for number in range(workers)}
        self.sessions: dict[str, bool] = {}
        """Sessions that were opened, and whether they are closed."""
        self.made: dict[AttemptId, TaskResult] = {}
        """Attempts that have run to their end, and what they gave."""
        self.dies = False
        self._make = make
        self.machine = self.start()

    # -- the master ------------------------------------------------------------------------------

    def start(self) -> Machine:
        """Return the machine of a new master that has taken over."""
        epoch = 1 + sum(isinstance(fact, EpochTaken) for fact in self.facts)
        for hands in self.workers.values():
            hands.sequence += 1
        self.facts.append(EpochTaken(epoch, "writer", self.now))
        machine = self._make(LIMITS, Random(epoch))
        for fact in self.facts:
            machine.apply(fact)
        self.machine = machine
        self._take(machine.take_over(epoch, self.now, self.now))
        return machine

    def restart(self) -> None:
        """Let the master die in its next step: some of the facts are durable, no command left."""
        self.dies = True

    def step(self, event: Event) -> None:
        """Step an event; let workers have the answers."""
        self._take(self.machine.step(event, self.now))

    def _take(self, outcome: Outcome) -> None:
        self.machine.check()
        self._judge(outcome)
        if self.dies:
            self.dies = False
            self.facts += outcome.facts[: self.rng.randint(0, len(outcome.facts))]
            self.start()
            return
        self.facts += outcome.facts
        for command in outcome.commands:
            if isinstance(command, Reply):
                self._answer(command)
            elif isinstance(command, DeleteValues):
                self._check_unwanted({info.uri for info in command.objects})

    def _judge(self, outcome: Outcome) -> None:
        """See that no call ends twice, has a value from nowhere, or fails without a reason."""
        ended = {task for fact in self.facts for task in ends_of(fact)}
        for fact in outcome.facts:
            for task in ends_of(fact):
                assert task not in ended, f"{task} ends twice"
                ended.add(task)
            if isinstance(fact, TaskWon):
                assert isinstance(self.made.get(fact.attempt), TaskOutput), f"{fact} was not made"
            elif isinstance(fact, CallFailed):
                self._judge_failure(fact)

    def _judge_failure(self, fact: CallFailed) -> None:
        if fact.attempt is None:
            assert "the result of call-" in fact.failure.message, f"{fact} fails without a reason"
            return
        results = [made for attempt, made in self.made.items() if attempt.task == fact.task]
        last = self.made[AttemptId(fact.task, fact.attempt)]
        assert isinstance(last, TaskFailure)
        assert last.message in fact.failure.message, f"{fact} lost its reason"
        if last.kind is FailureKind.USER and not last.died:
            record = self.machine.cluster.durable.jobs[fact.task.job_id]
            assert record.spec.session is not None
            raised = sum(isinstance(r, TaskFailure) and r.message == last.message for r in results)
            assert raised > record.spec.session.retries, f"{fact.task} might have been tried again"

    def _check_unwanted(self, uris: set[str]) -> None:
        """See that no value is deleted which a call may still take."""
        for record in self.machine.cluster.live_jobs():
            for task in record.stages[0].tasks:
                if task.output is not None and task.output.object is not None:
                    assert task.output.object.uri not in uris, f"{uris} are wanted"

    def _check_values(self, attempt: AttemptId) -> None:
        """See that an attempt which is assigned has the values that it takes."""
        durable = self.machine.cluster.durable
        calls = durable.jobs[attempt.task.job_id].calls
        assert calls is not None
        for need in calls.plans[attempt.task.index].needs:
            assert output_of(durable.jobs, need) is not None, f"{attempt} lacks {need}"

    def _answer(self, reply: Reply) -> None:
        hands = self.workers[reply.worker_id]
        if reply.session != hands.session or reply.sequence != hands.sequence:
            return
        if self.rng.random() < 0.1:
            return  # lost on the way
        wanted = {each.attempt for each in reply.wanted}
        for attempt in list(hands.held):
            if attempt not in wanted:
                del hands.held[attempt]
                hands.results.pop(attempt, None)
        for attempt in wanted:
            self._check_values(attempt)
            hands.held.setdefault(attempt, AttemptState.UNSTARTED)

    def replayed(self) -> Durable:
        """Return what a replay of all facts gives."""
        durable = Durable()
        for fact in self.facts:
            durable.apply(fact, LIMITS)
        return durable

    # -- workers ---------------------------------------------------------------------------------

    def work(self, name: str, *, well: bool = False) -> None:
        """Let a worker begin, end and report calls."""
        hands = self.workers[name]
        for attempt, state in list(hands.held.items()):
            if attempt in hands.results:
                continue
            if state is AttemptState.UNSTARTED and (well or self.rng.random() < 0.7):
                hands.held[attempt] = AttemptState.RUNNING
            elif state is AttemptState.RUNNING and (well or self.rng.random() < 0.6):
                hands.results[attempt] = self._result(attempt, well)
        hands.sequence += 1
        held = tuple(
            HeldAttempt(
                attempt,
                AttemptState.FINISHED if attempt in hands.results else state,
                result=hands.results.get(attempt),
            )
            for attempt, state in hands.held.items()
        )
        self.step(Synced(name, hands.session, hands.sequence, 1, slots=2, held=held))

    def _result(self, attempt: AttemptId, well: bool) -> TaskResult:
        result = self.made[attempt] = self._draw(attempt, 1.0 if well else self.rng.random())
        return result

    def _draw(self, attempt: AttemptId, draw: float) -> TaskResult:
        if draw < 0.08:
            return TaskFailure(kind=FailureKind.USER, message="ValueError: no", exception=b"E")
        if draw < 0.14:
            return TaskFailure(kind=FailureKind.USER, message="it was killed", died=True)
        if draw < 0.2:
            return TaskFailure(kind=FailureKind.INFRASTRUCTURE, message="no disk")
        if draw < 0.4:
            return TaskOutput(object=ObjectInfo(f"mem://{attempt}", 9, "1"), elapsed_seconds=0.01)
        return TaskOutput(result=b"value", elapsed_seconds=0.01)

    def lose(self, name: str) -> None:
        """Let a worker's process end, and another one begin."""
        hands = self.workers[name] = Hands()
        hands.session = int(self.now * 1000) + 2

    # -- clients ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Open a session."""
        name = f"s{len(self.sessions)}"
        self.sessions[name] = False
        spec = spec_of_session(name, retries=self.rng.choice((0, 0, 2)))
        self.step(
            Submitted(job_id=name, request_id=name, spec=spec, stages=STAGES, claim_generation="")
        )

    def live(self) -> list[str]:
        """Return the sessions that have not ended."""
        return [job.job_id for job in self.machine.cluster.live_jobs()]

    def add(self) -> None:
        """Add calls, some with values of others, and some that are there already."""
        if not (live := self.live()):
            return
        name = self.rng.choice(live)
        record = self.machine.cluster.durable.jobs[name]
        assert record.calls is not None
        first = max(0, record.calls.added - self.rng.choice((0, 0, 1, 3)))
        calls = []
        for index in range(first, first + self.rng.randint(1, 6)):
            known = [
                TaskId(other, 0, number)
                for other in self.sessions
                for number in range(index if other == name else self._added(other))
            ]
            needs = self.rng.sample(known, min(len(known), self.rng.choice((0, 0, 1, 2))))
            calls.append(CallPlan("0" * 64, b"arguments", needs=tuple(needs)))
        self.step(CallsSent(name, first, tuple(calls)))

    def _added(self, name: str) -> int:
        record = self.machine.cluster.durable.jobs.get(name)
        return 3 if record is None or record.calls is None else record.calls.added

    def release(self) -> None:
        """Release calls, ended or not."""
        if live := self.live():
            name = self.rng.choice(live)
            numbers = [self.rng.randrange(12) for _ in range(5)]
            self.step(CallsDone(name, tuple(numbers)))

    def cancel(self) -> None:
        """Cancel calls."""
        if live := self.live():
            name = self.rng.choice(live)
            self.step(CallsUnwanted(name, (self.rng.randrange(12), self.rng.randrange(12))))

    def close(self, message: str = "") -> None:
        """Close a session."""
        if live := self.live():
            name = self.rng.choice(live)
            self.sessions[name] = True
            self.step(CloseAsked(name, message))

    # -- time ------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Let time pass, with all that is due."""
        end = self.now + seconds
        for _ in range(1_000):
            due = self.machine.next_deadline()
            if due is None or due > end:
                break
            self.now = max(self.now, due)
            self.step(Ticked(self.now))
        self.now = end

    def go(self, steps: int) -> None:
        """Walk."""
        acts: tuple[tuple[float, Callable[[], None]], ...] = (
            (12, lambda: self.work(self.rng.choice(list(self.workers)))),
            (5, self.add),
            (3, self.release),
            (1, self.cancel),
            (2, lambda: self.wait(self.rng.choice((0.05, 0.5, 3.0)))),
            (1, lambda: self.wait(12.0)),
            (1, lambda: self.lose(self.rng.choice(list(self.workers)))),
            (1, self.restart),
            (1, self.open),
            (1, self.close),
            (0.3, lambda: self.close("its client has closed it")),
        )
        weights = [weight for weight, _ in acts]
        self.open()
        for _ in range(steps):
            ((_, act),) = self.rng.choices(acts, weights)
            act()

    def come_to_rest(self) -> None:
        """Let everything end that can: all work well, and the clients close what they have."""
        self.dies = False
        for _ in range(300):
            for name in self.workers:
                self.work(name, well=True)
            self.wait(0.2)
            live = [self.machine.cluster.durable.jobs[name] for name in self.live()]
            if not any(job.calls is not None and job.calls.plans for job in live):
                break
        for name in self.live():
            record = self.machine.cluster.durable.jobs[name]
            assert record.calls is not None
            assert not record.calls.plans, f"{name} has calls that never end"
            self.step(CloseAsked(name))
            self.step(CallsDone(name, tuple(record.calls.ended)))
        assert not self.live(), "a session that is closed and released has ended"


def ends_of(fact: Fact) -> list[TaskId]:
    """Return the calls that a fact ends."""
    match fact:
        case TaskWon():
            return [fact.attempt.task]
        case CallFailed():
            return [fact.task]
        case CallsCancelled():
            return [TaskId(fact.job_id, 0, index) for index in fact.indexes]
        case _:
            return []
