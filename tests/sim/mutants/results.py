"""Mutants of the accounting for results: each has one fault, which the simulation must find."""

from __future__ import annotations

import msgspec

from mrcore.master.core.results import Results
from mrcore.master.core.volatile import LiveJob, Worker
from mrcore.model.attempts import HeldAttempt
from mrcore.model.ids import AttemptId, TaskId
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput


class NoVersionFence(Results):
    """Accepts results whatever content they read."""

    def _on_output(
        self, job: LiveJob, worker: Worker, held: HeldAttempt, output: TaskOutput
    ) -> None:
        current = msgspec.structs.replace(
            held, inputs_version=job.record.stages[held.attempt.task.stage].version
        )
        super()._on_output(job, worker, current, output)


class NoRevocation(Results):
    """Keeps what has read a task that gave other content when it ran again."""

    def _revoke_readers(self, job: LiveJob, stage: int) -> None:
        pass


class VersionsStay(Results):
    """Runs what is revoked again, and takes results of attempts that read the former content."""

    def _revoke_readers(self, job: LiveJob, stage: int) -> None:
        for number in job.record.readers(stage):
            for index, task in enumerate(job.record.stages[number].tasks):
                if task.winner is not None:
                    task_id = TaskId(job.record.job_id, number, index)
                    self.lose_winner(job, AttemptId(task_id, task.winner), "revoked")


class RevocationStops(Results):
    """Revokes what reads a stage of input, and not what reads that in its turn."""

    def _revoke_readers(self, job: LiveJob, stage: int) -> None:
        if not job.record.stages[stage].plan.inputs:
            super()._revoke_readers(job, stage)


class NoAttemptFence(Results):
    """Lets a second attempt win a task that is won."""

    def on_result(self, worker: Worker, held: HeldAttempt) -> None:
        job = self.cluster.jobs.get(held.attempt.task.job_id)
        if job is not None and job.running and isinstance(held.result, TaskOutput):
            task = job.record.task(held.attempt.task)
            if task.winner not in (None, held.attempt.number):
                task.winner = held.attempt.number
        super().on_result(worker, held)


class PreemptionsCount(Results):
    """Takes a preemption for a failure of the user's code."""

    def _on_failure(
        self,
        job: LiveJob,
        worker: Worker,
        attempt_id: AttemptId,
        failure: TaskFailure,
        held: bool,
    ) -> float:
        if failure.kind is FailureKind.PREEMPTED:
            failure = msgspec.structs.replace(failure, kind=FailureKind.USER)
        return super()._on_failure(job, worker, attempt_id, failure, held)


class RepeatsCount(Results):
    """Counts a failure again each time that it is reported."""

    def _on_failure(
        self,
        job: LiveJob,
        worker: Worker,
        attempt_id: AttemptId,
        failure: TaskFailure,
        held: bool,
    ) -> float:
        job.record.task(attempt_id.task).failed.clear()
        return super()._on_failure(job, worker, attempt_id, failure, held)


class CertainErrorsTriedAgain(Results):
    """Tries a task again that has raised the same error at the same record twice."""

    def check_budgets(self, job: LiveJob, task_id: TaskId) -> bool:
        """Spare a task that is certain to fail."""
        return not job.record.task(task_id).same_error and super().check_budgets(job, task_id)


class AnyErrorIsCertain(Results):
    """Takes two errors at different records for the same."""

    def _on_failure(
        self,
        job: LiveJob,
        worker: Worker,
        attempt_id: AttemptId,
        failure: TaskFailure,
        held: bool,
    ) -> float:
        if failure.fingerprint:
            failure = msgspec.structs.replace(failure, fingerprint="error")
        return super()._on_failure(job, worker, attempt_id, failure, held)


class LateResultsRefused(Results):
    """Throws away the result of an attempt whose lease has ended."""

    def on_result(self, worker: Worker, held: HeldAttempt) -> None:
        if held.attempt in worker.held:
            super().on_result(worker, held)


class FinishedIsWanted(Results):
    """Goes on wanting an attempt that has been reported as finished."""

    def on_result(self, worker: Worker, held: HeldAttempt) -> None:
        attempt = worker.held.get(held.attempt)
        super().on_result(worker, held)
        if attempt is not None and isinstance(held.result, TaskFailure):
            worker.held[held.attempt] = attempt


class LossesIgnored(Results):
    """Does not believe that an accepted output can be gone."""

    def lose_winner(self, job: LiveJob, attempt_id: AttemptId, cause: str) -> None:
        pass
