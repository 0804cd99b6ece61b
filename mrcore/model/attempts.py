"""Attempts as master and worker speak of them: what is assigned, and what is held in which state.

A worker's request states every attempt that it holds; the master's answer states every attempt that
the worker should hold. Both daemons, and the conversion to messages, use these classes.
"""

from __future__ import annotations

import enum

import msgspec

from mrcore.model.ids import AttemptId
from mrcore.model.task import Progress, Skip, TaskResult, TaskWork

NO_PROGRESS = Progress()


class AttemptState(enum.StrEnum):
    """State of an attempt in the hands of a worker."""

    UNSTARTED = "unstarted"
    """Not begun: the worker can still take it back."""
    RUNNING = "running"
    """User code runs."""
    FINISHED = "finished"
    """It has a result, which is repeated until the master's answer omits the attempt."""


class HeldAttempt(msgspec.Struct, frozen=True):
    """One attempt in a worker's statement of what it holds."""

    attempt: AttemptId
    state: AttemptState
    inputs_version: int = 0
    """Echo of the assignment, so that an attempt of a former epoch can be judged."""
    elapsed_seconds: float = 0.0
    """Seconds since user code began; a time limit starts there."""
    progress: Progress = NO_PROGRESS
    """Progress of a running attempt."""
    result: TaskResult | None = None
    """Result of a finished attempt; None in any other state."""


class Assignment(msgspec.Struct, frozen=True):
    """One attempt that the master wants a worker to hold."""

    attempt: AttemptId
    inputs_version: int = 0
    work: TaskWork | None = None
    """Input of the attempt; None where the worker has stated that it holds the attempt."""
    mark_records: bool = False
    """Whether the child notes each record before it calls `map`, to find one that kills it."""
    skip: tuple[Skip, ...] = ()
    """Records that are left out."""
