"""Events of the machine: everything that it learns comes as one of these."""

from __future__ import annotations

import msgspec

from mrcore.master.core.commands import (
    CheckWinner,
    CleanUp,
    DeleteValues,
    PlanJob,
    PrepareCommit,
    RunCommit,
)
from mrcore.model.attempts import HeldAttempt
from mrcore.model.calls import CallPlan
from mrcore.model.commit_plan import CommitPlan
from mrcore.model.ids import AttemptId
from mrcore.model.job import JobSpec
from mrcore.model.remains import KeptResult
from mrcore.model.stages import StagePlan


class WorkerAbout(msgspec.Struct, frozen=True):
    """Details that a worker reports of itself, for display, and to choose its work."""

    host: str = ""
    process: int = 0
    python: str = ""
    mrcore: str = ""
    pyarrow: str = ""
    memory_bytes: int = 0
    """Memory that it offers."""
    cpus: float = 0.0
    """CPUs that it offers."""
    labels: tuple[str, ...] = ()


NO_DETAILS = WorkerAbout()


class Synced(msgspec.Struct, frozen=True):
    """A worker reported its whole state, which replaces what it reported before."""

    worker_id: str
    session: int
    sequence: int
    epoch: int
    """The highest epoch that the worker has seen."""
    slots: int
    held: tuple[HeldAttempt, ...] = ()
    draining: bool = False
    sees_store: bool = True
    """It read our nonce: no work before that."""
    park: bool = True
    """The reply may wait until there is news."""
    about: WorkerAbout = NO_DETAILS


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """The shell has checked, claimed and planned a job."""

    job_id: str
    request_id: str
    spec: JobSpec
    stages: tuple[StagePlan, ...]
    claim_generation: str
    input_bytes: int = 0
    wall_seconds: float = 0.0
    resumes: tuple[str, ...] = ()
    """Former jobs that it goes on with, the newest last."""
    kept: tuple[KeptResult, ...] = ()
    """Results of these that stand for its tasks."""


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """The shell has planned a job that had waited for others."""

    job_id: str
    stages: tuple[StagePlan, ...]
    input_bytes: int = 0


class CancelAsked(msgspec.Struct, frozen=True):
    """Somebody wants a job to stop."""

    job_id: str
    reason: str
    wall_seconds: float = 0.0


class JobBroken(msgspec.Struct, frozen=True):
    """The shell cannot go on with a job: its plan is gone, or a defect of ours concerns it."""

    job_id: str
    message: str


class CallsSent(msgspec.Struct, frozen=True):
    """The client of a session has sent calls; it repeats what it has no answer to."""

    job_id: str
    first: int
    """Number of the first of them."""
    calls: tuple[CallPlan, ...]


class CallsUnwanted(msgspec.Struct, frozen=True):
    """The client of a session wants calls to stop."""

    job_id: str
    indexes: tuple[int, ...]


class CallsDone(msgspec.Struct, frozen=True):
    """The client of a session needs these calls no more."""

    job_id: str
    indexes: tuple[int, ...]


class CloseAsked(msgspec.Struct, frozen=True):
    """A session is to get no more calls."""

    job_id: str
    message: str = ""
    """Reason to end it at once, with all of its calls; empty to let them end by themselves."""


class DrainAsked(msgspec.Struct, frozen=True):
    """Somebody wants a worker to finish what it has and leave."""

    worker_id: str


class WinnerMissing(msgspec.Struct, frozen=True):
    """The master looked, and the winner's run is not there."""

    attempt: AttemptId


class CommitPrepared(msgspec.Struct, frozen=True):
    """The shell has looked at the output and knows what the commit will replace."""

    job_id: str
    plan: CommitPlan
    wall_seconds: float = 0.0


class CommitFinished(msgspec.Struct, frozen=True):
    """Every part and the receipt are published."""

    job_id: str
    wall_seconds: float = 0.0


class CommitRefused(msgspec.Struct, frozen=True):
    """The commit cannot go on: the claim was taken, or a foreign object lies in its way."""

    job_id: str
    message: str
    lost: tuple[AttemptId, ...] = ()
    """Winners whose staged part is gone; their tasks run again if the commit has not begun."""
    wall_seconds: float = 0.0


class CleanedUp(msgspec.Struct, frozen=True):
    """`CleanUp` is done; a job without this one is cleaned up again by the next master."""

    job_id: str


class NothingDone(msgspec.Struct, frozen=True):
    """A command was overtaken, failed without harm, or found everything in order."""

    command: PlanJob | PrepareCommit | RunCommit | CleanUp | CheckWinner | DeleteValues


class Stalled(msgspec.Struct, frozen=True):
    """The shell heard nobody for `seconds`, as its loop or an append was blocked: leases grow."""

    seconds: float


class Ticked(msgspec.Struct, frozen=True):
    """Time has passed; sent at `next_deadline()` at the latest."""

    wall_seconds: float = 0.0


Event = (
    Synced
    | Submitted
    | Planned
    | CancelAsked
    | JobBroken
    | CallsSent
    | CallsUnwanted
    | CallsDone
    | CloseAsked
    | DrainAsked
    | WinnerMissing
    | CommitPrepared
    | CommitFinished
    | CommitRefused
    | CleanedUp
    | NothingDone
    | Stalled
    | Ticked
)
