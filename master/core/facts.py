"""Facts of the journal: the durable history of a cluster.

`Cluster.apply(fact)` alone changes durable state, live and in replay. Leases, heartbeats and
progress are not facts: a restarted master learns them again from its workers. A new field of a fact
gets a default, so that journals stay readable; any other change needs a new `journal.FORMAT`.
"""

from __future__ import annotations

import msgspec

from mrcore.model.calls import CallPlan
from mrcore.model.commit_plan import CommitPlan
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobSpec, JobState
from mrcore.model.remains import KeptResult
from mrcore.model.stages import StagePlan
from mrcore.model.task import TaskFailure, TaskOutput


class EpochTaken(msgspec.Struct, frozen=True, tag="epoch_taken"):
    """A master has started. The epoch is the number of the journal entry that says so."""

    epoch: int
    writer: str
    """Random token of the process, to recognise its own append after a lost reply."""
    wall_seconds: float


class JobSubmitted(msgspec.Struct, frozen=True, tag="job_submitted", kw_only=True):
    """A job was accepted: its claim is held, its plugin and plan are stored."""

    job_id: str
    request_id: str
    spec: JobSpec
    stages: tuple[StagePlan, ...]
    """In order: a stage reads only those before it. Empty for a job that waits (`spec.after`)."""
    claim_generation: str
    input_bytes: int = 0
    wall_seconds: float = 0.0
    resumes: tuple[str, ...] = ()
    """Former jobs that it goes on with: their temporaries are its own."""


class ResultsKept(msgspec.Struct, frozen=True, tag="results_kept"):
    """Results of a former job stand for tasks of one that resumes it, which have just begun."""

    job_id: str
    results: tuple[KeptResult, ...]


class JobPlanned(msgspec.Struct, frozen=True, tag="job_planned", kw_only=True):
    """A job that had waited for others was planned; its plan is stored."""

    job_id: str
    stages: tuple[StagePlan, ...]
    input_bytes: int = 0


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """Counts of a job's attempts so far, for those that leave no fact of their own."""

    started: int = 0
    expired: int = 0
    preempted: int = 0
    superseded: int = 0
    newest: AttemptNumber | None = None
    """Newest attempt that is counted as started."""
    stage_started: int = 0
    """Attempts started in the stage of the fact's own task; 0 in a fact about the whole job."""


class TaskWon(msgspec.Struct, frozen=True, tag="task_won", kw_only=True):
    """An attempt was accepted as its task's winner: from now on readers read it."""

    attempt: AttemptId
    worker_id: str
    output: TaskOutput
    tally: Tally = Tally()


class WinnerLost(msgspec.Struct, frozen=True, tag="winner_lost"):
    """The accepted output of a task can no longer be read; the task runs again."""

    attempt: AttemptId
    cause: str


class StageRevoked(msgspec.Struct, frozen=True, tag="stage_revoked"):
    """A task that ran again gave other content, so no accepted result of a reading stage stays."""

    job_id: str
    stage: int
    """Number of the stage that reads it, whose tasks run again."""
    version: int
    """Version of what that stage reads that is current from now on."""


class AttemptFailed(msgspec.Struct, frozen=True, tag="attempt_failed", kw_only=True):
    """An attempt failed in a way that counts against a budget, or that a retry must know of."""

    attempt: AttemptId
    worker_id: str
    failure: TaskFailure
    tally: Tally = Tally()


class CallsAdded(msgspec.Struct, frozen=True, tag="calls_added"):
    """Calls were added to a session."""

    job_id: str
    first: int
    """Number of the first of them: the number of calls that the session had."""
    calls: tuple[CallPlan, ...]


class CallFailed(msgspec.Struct, frozen=True, tag="call_failed", kw_only=True):
    """A call has failed for good."""

    task: TaskId
    failure: TaskFailure
    attempt: AttemptNumber | None = None
    """Attempt that failed; None where the call never ran, or was lost with a worker."""
    worker_id: str = ""
    """Worker that ran the attempt."""


class CallsCancelled(msgspec.Struct, frozen=True, tag="calls_cancelled"):
    """Calls were cancelled before they had ended."""

    job_id: str
    indexes: tuple[int, ...]


class CallsReleased(msgspec.Struct, frozen=True, tag="calls_released"):
    """The client does not need these calls any more, all of which have ended."""

    job_id: str
    indexes: tuple[int, ...]


class SessionClosed(msgspec.Struct, frozen=True, tag="session_closed"):
    """A session gets no more calls: it succeeds once all of them are released."""

    job_id: str


class WorkerJoined(msgspec.Struct, frozen=True, tag="worker_joined"):
    """A worker is about to get its first attempt: a later master waits for its report."""

    worker_id: str


class WorkersLeft(msgspec.Struct, frozen=True, tag="workers_left"):
    """Workers that hold nothing any more, since they left or were silent for their lease."""

    worker_ids: tuple[str, ...]


class CancelRequested(msgspec.Struct, frozen=True, tag="cancel_requested"):
    """A person wants the job to stop; refused from `CommitBegun` on."""

    job_id: str
    reason: str


class CommitBegun(msgspec.Struct, frozen=True, tag="commit_begun", kw_only=True):
    """All tasks have winners; from here on the job can be neither cancelled nor revoked."""

    job_id: str
    plan: CommitPlan
    wall_seconds: float = 0.0


class JobEnded(msgspec.Struct, frozen=True, tag="job_ended", kw_only=True):
    """The job's outcome; nothing but `JobCleaned` may follow."""

    job_id: str
    state: JobState
    failure: TaskFailure | None = None
    failed_task: TaskId | None = None
    message: str = ""
    """One sentence for the user; empty on success."""
    wall_seconds: float = 0.0
    tally: Tally = Tally()


class JobCleaned(msgspec.Struct, frozen=True, tag="job_cleaned", omit_defaults=True):
    """The ended job's staged objects and its claim are deleted: a later master need not try."""

    job_id: str
    again: bool = False
    """Whether an attempt may have written since, so that they are to be deleted once more."""


Fact = (
    EpochTaken
    | JobSubmitted
    | ResultsKept
    | JobPlanned
    | TaskWon
    | WinnerLost
    | StageRevoked
    | AttemptFailed
    | CallsAdded
    | CallFailed
    | CallsCancelled
    | CallsReleased
    | SessionClosed
    | WorkerJoined
    | WorkersLeft
    | CancelRequested
    | CommitBegun
    | JobEnded
    | JobCleaned
)
