"""A master machine with workers that obey at once, for tests of scale."""

from __future__ import annotations

from random import Random

from mrcore.master.core.commands import Reply
from mrcore.master.core.events import Event, Submitted, Synced, Ticked
from mrcore.master.core.facts import EpochTaken, Fact
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.model.attempts import AttemptState, HeldAttempt
from mrcore.model.ids import AttemptId
from mrcore.model.stages import StagePlan
from mrcore.model.task import TaskOutput, TaskResult
from tests.support.specs import NO_VERSIONS, job_spec, one_input
from tests.support.stage_plans import two_stages


class Cluster:
    """Workers that finish at once whatever they are given."""

    def __init__(self, limits: Limits, workers: int = 2) -> None:
        self.machine = Machine(limits, Random(0))
        self.facts: list[Fact] = [EpochTaken(1, "writer", 0.0)]
        self.machine.apply(self.facts[0])
        self.machine.take_over(1, 0.0, 0.0)
        self.held: dict[str, tuple[AttemptId, ...]] = {f"w{n}": () for n in range(workers)}
        self.sequence = 0
        self.now = 0.0
        self.result: TaskResult = TaskOutput(
            digest=b"x", elapsed_seconds=0.001, counters={"tasks": 1}, records_in=10
        )
        """Result of each attempt."""

    def step(self, event: Event) -> None:
        """Step an event, and hand its answers to the workers."""
        outcome = self.machine.step(event, self.now)
        self.facts += outcome.facts
        for command in outcome.commands:
            if isinstance(command, Reply):
                self.held[command.worker_id] = tuple(each.attempt for each in command.wanted)

    def submit(
        self,
        job_id: str,
        maps: int,
        reduces: int,
        *,
        inputs: int = 0,
        param: str = "",
        stages: tuple[StagePlan, ...] = (),
    ) -> None:
        """Submit a job."""
        spec = job_spec(
            job_id,
            inputs=one_input("mem://in") * inputs,
            params={"param": param},
            output_uri="mem://out",
            map_only=reduces == 0,
            versions=NO_VERSIONS,
        )
        self.step(
            Submitted(
                job_id=job_id,
                request_id=f"request of {job_id}",
                spec=spec,
                stages=stages or two_stages(maps, reduces),
                claim_generation="1",
            )
        )

    def sync(self, worker: str) -> None:
        """Report everything that a worker holds as finished."""
        self.now += 0.01
        self.sequence += 1
        held = tuple(
            HeldAttempt(attempt, AttemptState.FINISHED, result=self.result)
            for attempt in self.held[worker]
        )
        self.step(Synced(worker, 1, self.sequence, 1, slots=1, held=held))

    def wait(self) -> None:
        """Let the next deadline come."""
        deadline = self.machine.next_deadline()
        assert deadline is not None
        self.now = max(self.now, deadline)
        self.step(Ticked(self.now))
