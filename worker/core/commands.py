"""Commands of the worker's machine: everything that it wants the shell to do."""

from __future__ import annotations

from dataclasses import dataclass

from mrcore.model.attempts import Assignment
from mrcore.model.ids import AttemptId
from mrcore.model.job import JobSpec


@dataclass(frozen=True, slots=True)
class KeepJob:
    """Keep the specification where children find it."""

    job_id: str
    spec: JobSpec
    state_uri: str


@dataclass(frozen=True, slots=True)
class ForgetJob:
    """Forget a job: none of its attempts is held, and the others were mentioned more recently."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Run this attempt when a slot is free."""

    assignment: Assignment


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Do not begin this attempt; answer with `Withdrawn`, or with `Begun` when it is too late."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class Kill:
    """Stop this attempt whether or not it has begun; nobody wants its result."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class ReadNonce:
    """Read the nonce of this state's store; answer with `NonceRead`."""

    state_uri: str


@dataclass(frozen=True, slots=True)
class Leave:
    """End the process with this exit code and sentence."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Warn:
    """Log a sentence for the operator of this worker."""

    sentence: str


Command = KeepJob | ForgetJob | Enqueue | Withdraw | Kill | ReadNonce | Leave | Warn
