"""What happens to a worker, what it is told to do, and what it says of itself."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from mrcore.model.ids import AttemptId
from mrcore.model.job import JobSpec
from mrcore.model.task import MapWork, ReduceWork, Skip, TaskResult


class Hold(enum.StrEnum):
    """How an attempt stands in this worker."""

    UNSTARTED = "unstarted"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Assignment:
    """One attempt that the master wants held; without `work` where it knows that we hold it."""

    attempt: AttemptId
    inputs_version: int = 0
    work: MapWork | ReduceWork | None = None
    mark_records: bool = False
    skip: tuple[Skip, ...] = ()


# Events: what happened.


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The master answered a request."""

    cluster_id: str
    epoch: int
    sequence: int
    wanted: tuple[Assignment, ...] = ()
    jobs: Mapping[str, JobSpec] = field(default_factory=dict)
    drain: bool = False
    leave: bool = False
    state_uri: str = ""
    exceed_session: int = 0


@dataclass(frozen=True, slots=True)
class Begun:
    """A child has taken the attempt."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class TakenBack:
    """The attempt will not begin here."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class Ended:
    """The attempt has a result."""

    attempt: AttemptId
    result: TaskResult


@dataclass(frozen=True, slots=True)
class StoreSeen:
    """This is what lies in the state's store under the name that tells stores apart."""

    nonce: str


@dataclass(frozen=True, slots=True)
class DrainBegun:
    """Somebody wants this worker to leave: nothing new begins, what runs may finish."""

    reason: str


@dataclass(frozen=True, slots=True)
class HandedBack:
    """These attempts cannot finish before the worker has to go."""

    attempts: frozenset[AttemptId]
    reason: str


Event = Answered | Begun | TakenBack | Ended | StoreSeen | DrainBegun | HandedBack


# Commands: what the shell is to do.


@dataclass(frozen=True, slots=True)
class LearnJob:
    """Keep the specification where children find it."""

    job_id: str
    spec: JobSpec
    state_uri: str


@dataclass(frozen=True, slots=True)
class ForgetJob:
    """No attempt of this job is held, and it has not been heard of for long."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Give:
    """Run this attempt when a slot is free."""

    assignment: Assignment


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Do not begin this attempt; answer with `TakenBack`, or `Begun` when it is too late."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class Kill:
    """Stop this attempt whether or not it has begun; nobody wants its result."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class LookAtStore:
    """Read the nonce of this state and tell it."""

    state_uri: str


@dataclass(frozen=True, slots=True)
class Leave:
    """End the process: an exit code and a sentence."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Warn:
    """Log a sentence for whoever looks after this worker."""

    sentence: str


Command = LearnJob | ForgetJob | Give | TakeBack | Kill | LookAtStore | Leave | Warn


@dataclass(frozen=True, slots=True)
class HeldState:
    """One attempt in a statement."""

    attempt: AttemptId
    hold: Hold
    inputs_version: int
    result: TaskResult | None


@dataclass(frozen=True, slots=True)
class Statement:
    """Everything that a request says, but for progress and what never changes."""

    cluster_id: str
    session: int
    sequence: int
    epoch: int
    draining: bool
    store_nonce: str
    held: tuple[HeldState, ...]
    known_jobs: tuple[str, ...]
