"""Accounting for what attempts report: winners, failures, and outputs that are lost."""

from __future__ import annotations

from typing import assert_never

import msgspec

from mrcore.master.core import policy
from mrcore.master.core.calls import Calls
from mrcore.master.core.cluster import Cluster
from mrcore.master.core.commands import CheckWinner, PrepareCommit
from mrcore.master.core.facts import AttemptFailed, StageRevoked, TaskWon, WinnerLost
from mrcore.master.core.volatile import FailedReads, LiveJob, LiveTask, Worker
from mrcore.model.attempts import AttemptState, HeldAttempt
from mrcore.model.ids import AttemptId, TaskId
from mrcore.model.job import JobState
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput, TaskRef


class Results:
    """The accounting of a cluster's results, with the conclusions for their jobs."""

    def __init__(self, cluster: Cluster, calls: Calls) -> None:
        self.cluster = cluster
        self.calls = calls

    def advance(self, job: LiveJob) -> None:
        """Look what a new winner makes possible, or impossible."""
        record = job.record
        if record.calls is not None:
            self.calls.finish(job)
            return
        problem = policy.overrun(record, self.cluster.limits)
        if problem is not None:
            self.cluster.end_job(job, JobState.FAILED, problem)
            return
        if not record.complete or job.preparing:
            return
        if record.part_stage is None:  # nothing is published: the caller reads the results
            self.cluster.end_job(job, JobState.SUCCEEDED)
            return
        job.preparing, job.stale = True, False
        self.cluster.command(PrepareCommit(record.job_id))

    def check_budgets(self, job: LiveJob, task_id: TaskId) -> bool:
        """End the job if this task's budgets are spent, and return whether they are."""
        task = job.record.task(task_id)
        why = policy.verdict(task, job.record.spec, self.cluster.limits)
        if why is None:
            return False
        message = f"Task {job.record.task_name(task_id)} {why}"
        self.cluster.end_job(job, JobState.FAILED, message, task.last_failure, task_id)
        return True

    def issued(self, job: LiveJob, attempt_id: AttemptId) -> bool:
        """Return whether an attempt that a worker names can exist."""
        number, task_id = attempt_id.number, attempt_id.task
        if not self._exists(job, TaskRef(task_id.stage, task_id.index)):
            return False
        if number.epoch == self.cluster.epoch and number.n > self.cluster.number:
            return False
        return 0 < number.epoch <= self.cluster.epoch

    def _exists(self, job: LiveJob, task: TaskRef) -> bool:
        """Return whether a job has this task, which a worker names."""
        stages = job.stages
        return 0 <= task.stage < len(stages) and 0 <= task.index < len(stages[task.stage].tasks)

    def on_result(self, worker: Worker, held: HeldAttempt) -> None:
        """Account for a finished attempt; it is reported until the answer leaves it out."""
        attempt = worker.held.get(held.attempt)
        if attempt is not None:
            self.cluster.drop(attempt)
        task_id = held.attempt.task
        job = self.cluster.jobs.get(task_id.job_id)
        if job is None or not job.running or not self.issued(job, held.attempt):
            return
        job.find(held.attempt)
        if job.record.task(task_id).winner is not None:
            return
        delay = 0.0
        match held.result:
            case TaskOutput() as output:
                self._on_output(job, worker, held, output)
            case TaskFailure() as failure:
                delay = self._on_failure(job, worker, held.attempt, failure, attempt is not None)
            case None:
                pass
            case _:
                assert_never(held.result)
        self.cluster.requeue(job, task_id, delay)

    def _on_output(
        self, job: LiveJob, worker: Worker, held: HeldAttempt, output: TaskOutput
    ) -> None:
        """Accept a result if it read what is current, whatever became of its lease."""
        record, task_id = job.record, held.attempt.task
        stage, task = job.stages[task_id.stage], job.task(task_id)
        if held.inputs_version != record.stages[task_id.stage].version:
            self.cluster.note(task, "read what is not current", held.attempt.number, worker.id)
            return
        before = record.task(task_id).digest
        if before not in (None, output.digest):
            # Journaled first: a winner with other content must never stand alone, should the
            # journal end between the two facts (27_other_content, 34_restart_between_two_facts).
            self._revoke_readers(job, task_id.stage)
        self.cluster.dequeue(stage, task)
        won = TaskWon(
            attempt=held.attempt,
            worker_id=worker.id,
            output=output,
            tally=job.tally_at(task_id.stage),
        )
        if record.calls is not None:
            self.calls.on_won(job, won)
        else:
            self.cluster.record(won)
        self.cluster.note(task, "won", held.attempt.number, worker.id)
        for other in list(task.attempts):
            job.superseded += 1
            self.cluster.note(task, "superseded", other.id.number, other.worker_id)
            self.cluster.drop(other)
        stage.durations.add(output.elapsed_seconds)
        self._reward(worker, task)
        task.retries = 0
        for reader in record.readers(task_id.stage):
            message = self._mixed_kinds(job, reader)
            if message is not None:
                failure = TaskFailure(kind=FailureKind.USER, message=message)
                self.cluster.end_job(job, JobState.FAILED, message, failure)
                return
        self.advance(job)

    def _mixed_kinds(self, job: LiveJob, reader: int) -> str | None:
        """Return why the runs that a stage reads do not go together, once all are there."""
        record = job.record
        if not record.readable(reader):
            return None
        return policy.mixed_kinds(
            (record.stages[number].name, index, task.output)
            for number in record.stages[reader].plan.inputs
            for index, task in enumerate(record.stages[number].tasks)
            if task.output is not None
        )

    def _revoke_readers(self, job: LiveJob, stage: int) -> None:
        """Revoke the stages that read another's runs, one of which has other content now.

        Nothing that has read the former content may count. The stages that read those go on as
        they are (57_revocation_that_stops): they are revoked in their turn if these tasks give
        other content, too (56_revocation_that_goes_on).
        """
        record = job.record
        why = f"a {record.stages[stage].name} task gave other content when it ran again"
        for number in record.readers(stage):
            reader = job.stages[number]
            self.cluster.record(
                StageRevoked(record.job_id, number, record.stages[number].version + 1)
            )
            for attempt in list(reader.attempts.values()):
                self.cluster.drop(attempt)
            for index, task in enumerate(reader.tasks):
                self.cluster.note(task, "revoked", None, why)
                self.cluster.requeue(job, TaskId(record.job_id, number, index))
            self._hold_readers_back(job, number, "taken back: an input is made again")

    def _hold_readers_back(self, job: LiveJob, stage: int, why: str) -> None:
        """Take back what has not begun of the stages that read a stage which is incomplete now.

        It would read what is lost (28_unstarted_reduces_are_taken_back), or what is about to
        change (58_readers_of_a_revoked_stage_wait). What runs may have read all of it already.
        """
        for number in job.record.readers(stage):
            for attempt in list(job.stages[number].attempts.values()):
                if attempt.state is AttemptState.UNSTARTED:
                    self.cluster.take_back(attempt, why)

    def _reward(self, worker: Worker, task: LiveTask) -> None:
        """Clear the worker of a success, and blame those where the same task failed.

        Reads that fail are not held against their reader: the object may be at fault.
        """
        worker.blames = 0
        for worker_id in sorted(task.suspects):
            other = self.cluster.workers.get(worker_id)
            if other is None or other is worker:  # 63_worker_that_succeeds_at_last
                continue
            other.blames += 1
            if other.blames >= self.cluster.limits.blames_max:
                other.blames = 0
                other.blamed_until = self.cluster.now + self.cluster.limits.blame_seconds
        task.suspects.clear()
        kept = task.avoid.get(worker.id)  # its own output may be lost once more
        task.avoid = {} if kept is None else {worker.id: kept}

    def _on_failure(
        self,
        job: LiveJob,
        worker: Worker,
        attempt_id: AttemptId,
        failure: TaskFailure,
        held: bool,
    ) -> float:
        """Account for a failed attempt; return how long its task should wait for the next one."""
        task_id = attempt_id.task
        task = job.task(task_id)
        if failure.kind is FailureKind.PREEMPTED:
            if held:
                job.preempted += 1
                self.cluster.note(task, "preempted", attempt_id.number, worker.id)
            return 0.0
        if failure.kind is FailureKind.LOST_INPUT:
            inputs = job.record.stages[task_id.stage].plan.inputs
            named = {run for run in failure.lost_runs if run.stage in inputs}
            lost = sorted(run for run in named if self._exists(job, run))
            if lost:
                return self._on_lost_input(job, worker, attempt_id, lost, held)
            failure = msgspec.structs.replace(failure, kind=FailureKind.INFRASTRUCTURE)
        record = job.record.task(task_id)
        if record.counted(attempt_id.number):
            return 0.0
        if job.record.calls is not None and self.calls.fail_if_spent(
            job, attempt_id, worker.id, failure
        ):
            return 0.0
        skips = len(record.skip)
        self.cluster.record(
            AttemptFailed(
                attempt=attempt_id,
                worker_id=worker.id,
                failure=failure,
                tally=job.tally_at(task_id.stage),
            )
        )
        self.cluster.note(task, f"failed ({failure.kind})", attempt_id.number, worker.id)
        if failure.kind is FailureKind.INFRASTRUCTURE:
            self._suspect(task, worker.id)
        elif failure.kind is FailureKind.DATA:  # what it cannot read, another may
            self._suspect(task, worker.id, self.cluster.limits.strikes_max)
        elif failure.fingerprint:
            # A worker may lack a module or a file: the second try is another's, if it can be
            # (85_the_same_error_elsewhere).
            self._keep_away(task, worker.id)
        if job.record.calls is None and self.check_budgets(job, task_id):
            return 0.0
        if len(record.skip) > skips:
            task.retries = 0  # the cause is out of the way
            return 0.0
        return self.cluster.back_off(task)

    def _suspect(self, task: LiveTask, worker_id: str, strikes: int = 1) -> None:
        """Keep a task away from where it went wrong, which is at fault if it succeeds elsewhere."""
        self._keep_away(task, worker_id, strikes)
        if worker_id not in task.suspects:
            task.suspects.append(worker_id)
            del task.suspects[: -self.cluster.limits.avoided_max]

    def _keep_away(self, task: LiveTask, worker_id: str, strikes: int = 1) -> None:
        _, before = task.avoid.pop(worker_id, (0.0, 0))
        task.avoid[worker_id] = (
            self.cluster.now + self.cluster.limits.avoid_seconds,
            before + strikes,
        )
        if (
            len(task.avoid) > self.cluster.limits.avoided_max
        ):  # spot machines come under ever new names
            del task.avoid[next(iter(task.avoid))]

    def _on_lost_input(
        self,
        job: LiveJob,
        worker: Worker,
        attempt_id: AttemptId,
        lost: list[TaskRef],
        held: bool,
    ) -> float:
        """Note who could not read which winner; not the task's failure, and maybe the worker's.

        A failed read counts against a winner only if the reader was assigned after it.
        """
        task_id = attempt_id.task
        task = job.task(task_id)
        for run in lost:
            winner = job.record.stages[run.stage].tasks[run.index].winner
            if winner is None or winner > attempt_id.number:
                continue
            reads = job.reads.get(run)
            if reads is None or reads.winner != winner:
                reads = job.reads[run] = FailedReads(winner)
            if attempt_id not in reads.by and self._counts(reads, worker):
                reads.by[attempt_id] = worker.id
                self._check_reads(job, run, reads)
        if not held or task_id.job_id not in self.cluster.jobs:
            return 0.0
        self._keep_away(task, worker.id)
        first = TaskId(task_id.job_id, lost[0].stage, lost[0].index)
        unread = f"could not read {job.record.task_name(first)}"
        self.cluster.note(task, unread, attempt_id.number, worker.id)
        return self.cluster.back_off(task)

    def _counts(self, reads: FailedReads, worker: Worker) -> bool:
        """Return whether one more failed read of a worker says anything new."""
        return list(reads.by.values()).count(worker.id) < self.cluster.limits.reads_max

    def _check_reads(self, job: LiveJob, run: TaskRef, reads: FailedReads) -> None:
        """Drop a winner that could not be read twice, on two workers where two are able.

        One worker that cannot read anything must not have all runs of a job made again
        (26_winner_unreadable).
        """
        winner = AttemptId(TaskId(job.record.job_id, run.stage, run.index), reads.winner)
        failed, readers = len(reads.by), len(set(reads.by.values()))
        able = sum(1 for worker in self.cluster.workers.values() if self.cluster.able(job, worker))
        if failed >= 2 and (readers >= 2 or able < 2):
            self.lose_winner(job, winner, f"{failed} reads failed")
        else:
            self.cluster.command(CheckWinner(winner))

    def lose_winner(self, job: LiveJob, attempt_id: AttemptId, cause: str) -> None:
        """Run a task again whose accepted output cannot be read."""
        task_id = attempt_id.task
        if not job.running or not self.issued(job, attempt_id):
            return  # a loss before it in the same report may have ended the job
        winner = job.record.task(task_id)
        if winner.winner != attempt_id.number:
            return
        # It may have written where nobody else looks (44_worker_that_writes_elsewhere).
        task = job.task(task_id)
        self._suspect(task, winner.worker_id)
        self.cluster.record(WinnerLost(attempt_id, cause))
        self.cluster.note(task, "lost", attempt_id.number, cause)
        job.stale = True
        if self.check_budgets(job, task_id):
            return
        job.reads.pop(TaskRef(task_id.stage, task_id.index), None)
        self._hold_readers_back(job, task_id.stage, "taken back: an input is lost")
        self.cluster.requeue(job, task_id)
