"""Driver of a worker's machine: the master's side of the conversation."""

from __future__ import annotations

from mrcore.model.attempts import Assignment, AttemptState
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobSpec
from mrcore.model.task import Split, TaskOutput, TaskWork
from mrcore.worker.core.commands import (
    Command,
)
from mrcore.worker.core.events import (
    Answered,
    Event,
)
from mrcore.worker.core.limits import DEFAULT, Limits
from mrcore.worker.core.machine import Machine
from tests.support.specs import NO_VERSIONS, job_spec, one_input

WORK = TaskWork(Split(()), 1)
SPEC = job_spec(inputs=one_input(""), versions=NO_VERSIONS)
DONE = TaskOutput(records_out=1)


def attempt(n: int, job: str = "j", epoch: int = 1) -> AttemptId:
    """Return attempt `n`, at a task of its own."""
    return AttemptId(TaskId(job, 0, n), AttemptNumber(epoch, n))


def assignment(n: int, job: str = "j") -> Assignment:
    """Return an assignment of attempt `n`, with its work."""
    return Assignment(attempt(n, job), 7, WORK)


class Driver:
    """A machine in a cluster that it knows, and the master's side of the talk."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self.machine = Machine(session=5, limits=limits)
        self.machine.state()
        self.answer(jobs={"j": SPEC})

    def answer(
        self,
        *wanted: Assignment,
        cluster_id: str = "c",
        epoch: int = 3,
        sequence: int | None = None,
        jobs: dict[str, JobSpec] | None = None,
        drain: bool = False,
        leave: bool = False,
    ) -> list[Command]:
        """Answer the latest request (or another)."""
        return self.step(
            Answered(
                cluster_id=cluster_id,
                epoch=epoch,
                sequence=self.machine.sequence if sequence is None else sequence,
                wanted=wanted,
                jobs=jobs or {},
                drain=drain,
                leave=leave,
                state_uri="file:///state",
            )
        )

    def step(self, event: Event) -> list[Command]:
        """Step, and check."""
        commands = self.machine.step(event)
        self.machine.check()
        return commands

    def told(self) -> dict[AttemptId, AttemptState]:
        """Make the next request; return what it says of attempts."""
        return {held.attempt: held.state for held in self.machine.state().held}
