"""The jobs of a simulation, and what is remembered of them to judge the machine by."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from mrcore.master.core.events import Submitted
from mrcore.master.core.limits import Limits
from mrcore.model.ids import AttemptId, TaskId
from mrcore.model.job import JobSpec, Plugin, Versions
from mrcore.model.stages import StagePlan
from mrcore.model.task import FailureKind, TaskFailure, TaskRef
from tests.support.stage_plans import two_stages

MAX_ATTEMPTS = 4


@dataclass(slots=True)
class SimJob:
    """One job: how large it is, how it behaves, and every failure that its attempts really had."""

    job_id: str
    stages: tuple[StagePlan, ...]
    task_seconds: float
    priority: int
    killers: frozenset[int]
    """Map tasks with a record that kills the child."""
    max_bad_records: int
    lease_seconds: float
    failures: dict[AttemptId, TaskFailure] = field(default_factory=dict)
    vanished: int = 0
    published: tuple[AttemptId, ...] | None = None
    """The parts of its output."""
    after: tuple[str, ...] = ()
    """Jobs that it waits for: chosen when it is submitted first, among those that are durable."""

    @classmethod
    def draw(cls, rng: Random, number: int, lease_seconds: float) -> SimJob:
        """Draw a job; a few have no maps, no reduces, or records that kill."""
        maps = rng.choice((0, 1, 3, 6, 10))
        killers = frozenset({rng.randrange(maps)} if maps and rng.random() < 0.2 else ())
        return cls(
            job_id=f"job-{number}",
            stages=two_stages(maps, rng.choice((0, 1, 5, 12))),
            task_seconds=rng.choice((0.02, 0.3, 3.0)),
            priority=rng.choice((0, 0, 5)),
            killers=killers,
            max_bad_records=rng.choice((0, 1)) if killers else 0,
            lease_seconds=lease_seconds * rng.choice((1.0, 1.0, 3.0)),
        )

    def inputs(self, stage: int) -> list[TaskRef]:
        """Return the tasks whose runs the tasks of a stage read."""
        return [
            TaskRef(read, index)
            for read in self.stages[stage].inputs
            for index in range(self.stages[read].tasks)
        ]

    @property
    def tasks(self) -> int:
        """Return the number of its tasks."""
        return sum(stage.tasks for stage in self.stages)

    def failed(self, attempt: AttemptId, failure: TaskFailure) -> None:
        """Remember a failure that really happened, on whatever machine."""
        self.failures[attempt] = failure

    def submitted(self, wall_seconds: float) -> Submitted:
        """Return the event that submits it."""
        spec = JobSpec(
            name=self.job_id,
            plugin=Plugin(sha256="0", name="sim"),
            inputs=(),
            output_uri=f"mem://out/{self.job_id}",
            versions=Versions(python="3.11", mrcore="0.1.0", pyarrow="", cloudpickle=""),
            lease_seconds=self.lease_seconds,
            max_attempts=MAX_ATTEMPTS,
            max_bad_records=self.max_bad_records,
            priority=self.priority,
            after=self.after,
            map_only=len(self.stages) == 1,
        )
        return Submitted(
            job_id=self.job_id,
            request_id=f"request of {self.job_id}",
            spec=spec,
            stages=() if self.after else self.stages,
            claim_generation="1",
            wall_seconds=wall_seconds,
        )

    def may_fail(self, task: TaskId | None, limits: Limits) -> bool:
        """Tell whether what really happened entitles the machine to fail this job."""
        if task is None:
            return False
        run = TaskRef(task.stage, task.index)
        unread = [f for f in self.failures.values() if run in f.lost_runs]
        mine = [failure for attempt, failure in self.failures.items() if attempt.task == task]
        kinds = [failure.kind for failure in mine]
        code = kinds.count(FailureKind.USER) + kinds.count(FailureKind.DATA)
        return (
            code >= MAX_ATTEMPTS
            or kinds.count(FailureKind.DATA) >= 2
            or kinds.count(FailureKind.INFRASTRUCTURE) >= limits.infrastructure_max
            or self.vanished + len(unread) >= limits.losses_max
        )
