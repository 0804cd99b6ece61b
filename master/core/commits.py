"""The commit of a job, from the look at its parts to its end.

The committer outside of the core does what `PrepareCommit` and `RunCommit` command, and its answers
come in as events. Meanwhile a run may be lost, and be made again.
"""

from __future__ import annotations

from mrcore.master.core.cluster import Cluster
from mrcore.master.core.commands import PrepareCommit, RunCommit
from mrcore.master.core.events import (
    CommitFinished,
    CommitPrepared,
    CommitRefused,
    NothingDone,
    WinnerMissing,
)
from mrcore.master.core.facts import CommitBegun
from mrcore.master.core.results import Results
from mrcore.master.core.volatile import LiveJob
from mrcore.model.job import JobState


class Commits:
    """The handlers of what the committer answers."""

    def __init__(self, cluster: Cluster, results: Results) -> None:
        self.cluster = cluster
        self.results = results

    def on_prepared(self, event: CommitPrepared) -> None:
        """Begin the commit that was prepared, unless its winners have changed since."""
        job = self.cluster.jobs.get(event.job_id)
        if job is None or not job.running or not job.preparing:
            return
        # The committer has verified other winners than would be published: a run was lost and made
        # again meanwhile (48_winner_lost_while_prepared).
        if job.stale:
            self._prepare_anew(job, "")
            return
        job.preparing = False
        self.cluster.record(
            CommitBegun(job_id=event.job_id, plan=event.plan, wall_seconds=event.wall_seconds)
        )
        self.cluster.command(RunCommit(event.job_id))

    def on_finished(self, event: CommitFinished) -> None:
        """End the job: its parts and its receipt are there."""
        job = self.cluster.jobs.get(event.job_id)
        if job is not None and job.record.state is JobState.COMMITTING:
            self.cluster.end_job(job, JobState.SUCCEEDED)

    def on_nothing_done(self, event: NothingDone) -> None:
        """Prepare a commit anew where winners were lost, and won again, before the first look.

        The machine waits for an answer to each `PrepareCommit`, so it would wait for ever
        (47_prepare_was_overtaken).
        """
        if isinstance(event.command, PrepareCommit):
            job = self.cluster.jobs.get(event.command.job_id)
            if job is not None and job.running and job.preparing:
                self._prepare_anew(job, "The master found no cause to commit the complete job.")

    def _prepare_anew(self, job: LiveJob, problem: str) -> None:
        """Prepare a commit once more if a winner was lost since; otherwise fail with `problem`.

        An answer that nothing explains would be given again, at once and without end.
        """
        job.preparing = False
        if job.stale:
            self.results.advance(job)
        else:
            self.cluster.end_job(job, JobState.FAILED, problem)

    def on_refused(self, event: CommitRefused) -> None:
        """Make parts and lists again that are gone; any other refusal fails the job."""
        job = self.cluster.jobs.get(event.job_id)
        if job is None:
            return
        if job.running and event.lost:  # what is gone can be made again (35_commit_refused)
            for attempt_id in event.lost:
                if event.job_id in self.cluster.jobs:
                    self.results.lose_winner(job, attempt_id, event.message)
            if event.job_id in self.cluster.jobs and job.preparing:
                self._prepare_anew(job, event.message)
            return
        # A refusal of a job that runs, and is not being prepared any more, came too late.
        if not job.running or job.preparing:
            self.cluster.end_job(job, JobState.FAILED, event.message)

    def on_missing(self, event: WinnerMissing) -> None:
        """Have a task run again whose run is not in the store."""
        job = self.cluster.jobs.get(event.attempt.task.job_id)
        if job is not None and job.running:
            self.results.lose_winner(job, event.attempt, "its run is not there")
