"""Events of the worker's machine: everything that it learns comes as one of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mrcore.model.attempts import Assignment
from mrcore.model.ids import AttemptId
from mrcore.model.job import JobSpec
from mrcore.model.task import TaskResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The master answered a request."""

    cluster_id: str
    epoch: int
    """Epoch of the master that answered."""
    sequence: int
    """Number of the request that it answers."""
    wanted: tuple[Assignment, ...] = ()
    """Every attempt that this worker should hold."""
    jobs: Mapping[str, JobSpec] = field(default_factory=dict)
    """Specifications of jobs that the request did not list as known."""
    drain: bool = False
    """Whether the worker should finish what runs, and leave."""
    leave: bool = False
    """Whether a drained worker may end."""
    state_uri: str = ""
    exceed_session: int = 0
    """Session number of another process with this worker's id; 0 if this one is the newest."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A child has taken the attempt."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The attempt will not begin here."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class Ended:
    """The attempt has a result."""

    attempt: AttemptId
    result: TaskResult


@dataclass(frozen=True, slots=True)
class NonceRead:
    """The nonce of the state's store was read: it tells one store from another."""

    nonce: str


@dataclass(frozen=True, slots=True)
class DrainBegun:
    """The worker is to leave: nothing new begins, and what runs may finish."""

    reason: str


@dataclass(frozen=True, slots=True)
class HandedBack:
    """These attempts cannot finish before the worker has to leave."""

    attempts: frozenset[AttemptId]
    reason: str


Event = Answered | Begun | Withdrawn | Ended | NonceRead | DrainBegun | HandedBack
