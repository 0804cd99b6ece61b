"""Invariants of calls, judged from outside the machine: each ends once, and for a reason."""

from __future__ import annotations

from collections.abc import Iterator

from mrcore.master.core.commands import DeleteValues
from mrcore.master.core.durable_calls import needs_of, output_of
from mrcore.master.core.facts import CallFailed, CallsCancelled, Fact, JobEnded, TaskWon
from mrcore.master.core.machine import Machine, Outcome
from mrcore.model.calls import CALL_STAGE
from mrcore.model.ids import AttemptId, TaskId
from mrcore.model.job import JobState
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput
from tests.sim.oracles.history import LIMITS
from tests.sim.world.jobs import MAX_ATTEMPTS, SimSession
from tests.sim.world.scene import Scene


def ends_of(fact: Fact) -> Iterator[tuple[TaskId, TaskOutput | TaskFailure | None]]:
    """Yield the tasks that a fact ends, and what each leaves; None where it was cancelled."""
    match fact:
        case TaskWon():
            yield fact.attempt.task, fact.output
        case CallFailed():
            yield fact.task, fact.failure
        case CallsCancelled():
            for index in fact.indexes:
                yield TaskId(fact.job_id, CALL_STAGE, index), None
        case _:
            pass


class SessionOracle:
    """Remembers how calls have ended, and asserts what must follow."""

    def __init__(self, scene: Scene, machine: Machine) -> None:
        """Know only what is durable."""
        self.store = scene.store
        self.jobs = scene.jobs
        self.limits = LIMITS
        self.ended: dict[TaskId, None] = {
            task_id: None
            for fact in scene.history.facts
            for task_id, _ in ends_of(fact)
            if isinstance(self.jobs.get(task_id.job_id), SimSession)
        }

    def after(self, outcome: Outcome, machine: Machine) -> None:
        """Judge what a step gave."""
        for fact in outcome.facts:
            for task_id, _ in ends_of(fact):
                session = self.jobs[task_id.job_id]
                if isinstance(session, SimSession):
                    assert task_id not in self.ended, f"{task_id} ends twice"
                    self.ended[task_id] = None
                    self._judge_end(session, fact)
            if isinstance(fact, JobEnded):
                ended = self.jobs[fact.job_id]
                if isinstance(ended, SimSession):
                    self._judge_session(ended, fact)
        for command in outcome.commands:
            if isinstance(command, DeleteValues):
                self._judge_deletion(command, machine)

    def _judge_end(self, session: SimSession, fact: Fact) -> None:
        match fact:
            case TaskWon():
                made = session.values[fact.attempt]
                assert fact.output.result == made.result, f"{fact.attempt} has another value"
                assert fact.output.object == made.object, f"{fact.attempt} has another value"
            case CallsCancelled():
                assert set(fact.indexes) <= session.cancelled, f"{fact} was not asked for"
            case CallFailed() if fact.attempt is None:
                because = "the result of call-" in fact.failure.message
                assert because, f"{fact.task} fails without a reason"
            case CallFailed():
                assert fact.attempt is not None
                last = session.failures[AttemptId(fact.task, fact.attempt)]
                assert last.message in fact.failure.message, f"{fact.task} lost its reason"
                failures = [f for a, f in session.failures.items() if a.task == fact.task]
                spent = self._spent(session, failures, last)
                assert spent, f"{fact.task} might have been tried again"

    def _spent(self, session: SimSession, failures: list[TaskFailure], last: TaskFailure) -> bool:
        """Return whether what really happened entitles the machine to fail a call."""
        kinds = [failure.kind for failure in failures]
        if last.kind is FailureKind.INFRASTRUCTURE:
            return kinds.count(last.kind) >= self.limits.infrastructure_max
        if last.kind is FailureKind.USER and not last.died:
            raised = sum(f.kind is FailureKind.USER and not f.died for f in failures)
            return raised > session.retries
        if last.kind is FailureKind.DATA and kinds.count(FailureKind.DATA) > 1:
            return True
        others = sum(f.died or f.kind is FailureKind.DATA for f in failures)
        return last.kind is not FailureKind.PREEMPTED and others >= MAX_ATTEMPTS

    def _judge_session(self, session: SimSession, fact: JobEnded) -> None:
        """A session succeeds once it is closed and nothing is left, or as nobody waits for it."""
        if fact.state is JobState.CANCELLED:
            assert session.ending, f"{fact.job_id} was cancelled by nobody"
            return
        assert fact.state is JobState.SUCCEEDED, f"{fact.job_id} failed: {fact.message}"
        ended = {task_id.index for task_id in self.ended if task_id.job_id == fact.job_id}
        over = session.closed and ended <= session.released
        assert session.ending or over, f"{fact.job_id} ends before its client has done with it"

    def _judge_deletion(self, command: DeleteValues, machine: Machine) -> None:
        """See that no value is deleted which a call may still take, or a client read."""
        uris = {info.uri for info in command.objects}
        for record in machine.cluster.live_jobs():
            for task in record.stages[CALL_STAGE].tasks if record.calls is not None else ():
                if task.output is not None and task.output.object is not None:
                    assert task.output.object.uri not in uris, f"{uris} are wanted"

    def sent(self, attempt: AttemptId, machine: Machine) -> bool:
        """Return whether a call that is sent to a worker is still to run; its values are there."""
        durable = machine.cluster.durable
        record = durable.jobs[attempt.task.job_id]
        plan = None if record.calls is None else record.calls.plans.get(attempt.task.index)
        if plan is None:
            return False
        for need in needs_of(plan):
            output = output_of(durable.jobs, need)
            assert output is not None, f"{attempt} lacks the value of {need}"
            if output.object is not None:
                there = self.store.is_there(output.object.uri)
                assert there, f"the value of {need} is gone before {attempt} has taken it"
        return True
