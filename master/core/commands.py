"""Commands of the machine. The shell obeys once the facts of the same step are flushed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mrcore.model.attempts import Assignment
from mrcore.model.ids import AttemptId
from mrcore.model.job import JobState

if TYPE_CHECKING:
    from mrcore.storage.base import ObjectInfo


class Reply(msgspec.Struct, frozen=True):
    """The answer to a worker's request (worker, session, sequence): all that it should hold.

    What is missing from `wanted` is to be killed, or, when finished, forgotten: it is accounted.
    """

    worker_id: str
    session: int
    sequence: int
    wanted: tuple[Assignment, ...]
    """Attempts without their work: the shell adds the split, or the slices of runs."""
    drain: bool = False
    """Hand back what has not started, finish the rest, leave."""
    leave: bool = False
    """Nothing is held and draining: the process may end."""
    sync_seconds: float = 3.0
    """Longest pause before the next request: a third of the shortest lease held."""


class Superseded(msgspec.Struct, frozen=True):
    """The request came from a former life of this worker, whose process should end."""

    worker_id: str
    session: int
    sequence: int
    exceed_session: int


class StepDown(msgspec.Struct, frozen=True):
    """A worker has seen a higher epoch: look in the journal, and leave if it is true."""

    epoch: int


class CheckWinner(msgspec.Struct, frozen=True):
    """A read of this winner failed once: look whether its run is there (answer: WinnerMissing)."""

    attempt: AttemptId


class PlanJob(msgspec.Struct, frozen=True):
    """All jobs that this one waited for have succeeded: list and cut its input (`Planned`)."""

    job_id: str


class PrepareCommit(msgspec.Struct, frozen=True):
    """All tasks have winners: verify claim and staged parts, and list what is to be replaced."""

    job_id: str


class RunCommit(msgspec.Struct, frozen=True):
    """`CommitBegun` is flushed (by this master or a former one): publish, idempotently."""

    job_id: str


class CleanUp(msgspec.Struct, frozen=True):
    """`JobEnded` is flushed: delete what is staged, and the claim."""

    job_id: str
    state: JobState


class DeleteValues(msgspec.Struct, frozen=True):
    """Nobody needs these values of calls any more: delete their objects, if that is easy.

    What is left goes when the session has ended.
    """

    objects: tuple[ObjectInfo, ...]


Command = (
    Reply
    | Superseded
    | StepDown
    | CheckWinner
    | PlanJob
    | PrepareCommit
    | RunCommit
    | CleanUp
    | DeleteValues
)
