"""Commands of the worker's machine: everything that it wants the shell to do."""

from __future__ import annotations

import msgspec

from mrcore.model.attempts import Assignment
from mrcore.model.ids import AttemptId
from mrcore.model.job import JobSpec


class KeepJob(msgspec.Struct, frozen=True):
    """Keep the specification where children find it."""

    job_id: str
    spec: JobSpec
    state_uri: str


class ForgetJob(msgspec.Struct, frozen=True):
    """Forget a job: none of its attempts is held, and the others were mentioned more recently."""

    job_id: str


class Enqueue(msgspec.Struct, frozen=True):
    """Run this attempt when a slot is free."""

    assignment: Assignment


class Withdraw(msgspec.Struct, frozen=True):
    """Do not begin this attempt; answer with `Withdrawn`, or with `Begun` when it is too late."""

    attempt: AttemptId


class Kill(msgspec.Struct, frozen=True):
    """Stop this attempt whether or not it has begun; nobody wants its result."""

    attempt: AttemptId


class ReadNonce(msgspec.Struct, frozen=True):
    """Read the nonce of this state's store; answer with `NonceRead`."""

    state_uri: str


class Leave(msgspec.Struct, frozen=True):
    """End the process with this exit code and sentence."""

    code: int
    reason: str


class Warn(msgspec.Struct, frozen=True):
    """Log a sentence for the operator of this worker."""

    sentence: str


Command = KeepJob | ForgetJob | Enqueue | Withdraw | Kill | ReadNonce | Leave | Warn
