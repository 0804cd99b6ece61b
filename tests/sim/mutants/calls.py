"""Mutants of calls: each has one fault in what becomes of a call or its value."""

from __future__ import annotations

from typing import Any

from mrcore.master.core import durable_calls
from mrcore.master.core.calls import Calls
from mrcore.master.core.facts import CallFailed, CallsCancelled, TaskWon
from mrcore.master.core.limits import Limits
from mrcore.master.core.records import JobRecord
from mrcore.master.core.volatile import LiveJob
from mrcore.model.ids import AttemptId, TaskId
from mrcore.model.task import TaskFailure


class ForgetsTakers(Calls):
    """A value does not wake the calls that wait for it."""

    def on_won(self, job: LiveJob, won: TaskWon) -> None:
        takers = self.takers.pop(won.attempt.task.job_id, {})
        super().on_won(job, won)
        self.takers[won.attempt.task.job_id] = takers


class LeavesTakersOfFailures(Calls):
    """A call without a value leaves those alone that wait for it."""

    def _end(self, facts: Any) -> None:
        for fact in list(facts):
            self.takers.pop(fact.task.job_id if isinstance(fact, CallFailed) else fact.job_id, None)
            super()._end([fact])


class LeavesTakersOfSessions(Calls):
    """The end of a session leaves the calls alone that take its values."""

    def on_session_ended(self, record: JobRecord) -> None:
        self.takers.pop(record.job_id, None)
        super().on_session_ended(record)


class KeepsRunning(Calls):
    """A mutant: a cancelled call stays with its worker."""

    def _stop(self, job: LiveJob, task_id: TaskId) -> None:
        stage, task = job.stages[0], job.task(task_id)
        self.cluster.dequeue(stage, task)
        self.missing.pop(task_id, None)


class QueuesAtOnce(Calls):
    """Calls do not wait for the values that they take."""

    def _line_up(self, job: LiveJob, index: int) -> None:
        before = set(self.missing)
        super()._line_up(job, index)
        for task_id in set(self.missing) - before:
            del self.missing[task_id]
            self.cluster.enqueue(job, task_id)


class FailsAtOnce(Calls):
    """A call has no retries."""

    def fail_if_spent(
        self, job: LiveJob, attempt_id: AttemptId, worker_id: str, failure: TaskFailure
    ) -> bool:
        self._end(
            [
                CallFailed(
                    task=attempt_id.task,
                    failure=failure,
                    attempt=attempt_id.number,
                    worker_id=worker_id,
                )
            ]
        )
        return True


class FailsWhatIsLost(Calls):
    """A call fails that was lost with its worker."""

    def admit(self, job: LiveJob) -> None:
        super().admit(job)
        failure = TaskFailure(kind="infrastructure", message="lost")  # type: ignore[arg-type]
        for index in list(job.record.calls.plans if job.record.calls else ()):
            self.fail(TaskId(job.record.job_id, 0, index), failure)


class DeletesTooEarly(Calls):
    """The object of a value goes while calls take it."""

    def _delete_freed(self, objects: dict[TaskId, Any]) -> None:
        self._delete(list(objects.values()))


class NeverFinishes(Calls):
    """A session does not end when nothing is left of it."""

    def finish(self, job: LiveJob) -> None:
        pass


CALL_MUTANTS = (
    ForgetsTakers,
    LeavesTakersOfFailures,
    LeavesTakersOfSessions,
    KeepsRunning,
    QueuesAtOnce,
    FailsAtOnce,
    FailsWhatIsLost,
    DeletesTooEarly,
    NeverFinishes,
)
"""Mutants of calls.

`Calls.resume` without an effect is not among them: no run of events can show it. It goes on with a
step of which the journal has some facts and not the others. `Outbox.entry` takes all facts of whole
steps, and an entry is one object, so a master that takes over finds each step whole or not at all.
The scenario `99_restart_amid_calls` cuts a step in two, and fails without `resume`.
"""


def _release_what_is_needed(job: JobRecord, calls: Any, index: int) -> None:
    """Drop values that are released, though calls take them."""
    failure = calls.ended.pop(index)
    if failure is None:
        durable_calls._drop_value(job, calls, index)
    else:
        calls.kept_bytes -= durable_calls.weight_of_failure(failure)


_apply = durable_calls.apply


def _let_cancelled_calls_end_again(jobs: Any, fact: Any, limits: Limits) -> None:
    """Keep the plans of cancelled calls."""
    if isinstance(fact, CallsCancelled):
        calls = jobs[fact.job_id].calls
        kept = {index: calls.plans[index] for index in fact.indexes}
        _apply(jobs, fact, limits)
        calls.plans.update(kept)
    else:
        _apply(jobs, fact, limits)


CALL_FAULTS = {
    "ReleasesWhatIsNeeded": (durable_calls, "_release", _release_what_is_needed),
    "CancelledCallsEndAgain": (durable_calls, "apply", _let_cancelled_calls_end_again),
}
"""Functions that are replaced."""
