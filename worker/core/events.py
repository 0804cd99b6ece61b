"""Events of the worker's machine: everything that it learns comes as one of these."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mrcore.model.attempts import Assignment
from mrcore.model.ids import AttemptId
from mrcore.model.job import JobSpec
from mrcore.model.task import TaskResult


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The master answered a request."""

    cluster_id: str
    epoch: int
    """Epoch of the master that answered."""
    sequence: int
    """Number of the request that it answers."""
    wanted: tuple[Assignment, ...] = ()
    """Every attempt that this worker should hold."""
    jobs: Mapping[str, JobSpec] = {}
    """Specifications of jobs that the request did not list as known."""
    drain: bool = False
    """Whether the worker should finish what runs, and leave."""
    leave: bool = False
    """Whether a drained worker may end."""
    state_uri: str = ""
    exceed_session: int = 0
    """Session number of another process with this worker's id; 0 if this one is the newest."""


class Begun(msgspec.Struct, frozen=True):
    """A child has taken the attempt."""

    attempt: AttemptId


class Withdrawn(msgspec.Struct, frozen=True):
    """The attempt will not begin here."""

    attempt: AttemptId


class Ended(msgspec.Struct, frozen=True):
    """The attempt has a result."""

    attempt: AttemptId
    result: TaskResult


class NonceRead(msgspec.Struct, frozen=True):
    """The nonce of the state's store was read: it tells one store from another."""

    nonce: str


class DrainBegun(msgspec.Struct, frozen=True):
    """The worker is to leave: nothing new begins, and what runs may finish."""

    reason: str


class HandedBack(msgspec.Struct, frozen=True):
    """These attempts cannot finish before the worker has to leave."""

    attempts: frozenset[AttemptId]
    reason: str


Event = Answered | Begun | Withdrawn | Ended | NonceRead | DrainBegun | HandedBack
