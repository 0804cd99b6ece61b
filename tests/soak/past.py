"""The past of a soak's cluster: as many ended jobs as a master remembers.

A master that remembers fewer grows with each job, which would look like a leak for the first hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from mrcore.master.core.facts import Fact, JobCleaned, JobEnded, JobSubmitted, TaskWon
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.snapshots import encode_snapshot
from mrcore.model import object_names
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobState
from mrcore.model.stages import StagePlan, stage_plans, stages_of
from mrcore.model.task import TaskOutput
from mrcore.storage.registry import storage_for
from mrcore.util.clock import SYSTEM
from tests.support.specs import job_spec, one_input

MAPS, REDUCES = 6, 3
"""Tasks of a job of the past: about as many as those of the load have."""


def write_past(state_uri: str) -> None:
    """Write a state whose master has ended: its jobs were as those of the load."""
    machine, storage = Machine(Limits(), Random(0)), storage_for(state_uri)
    journal = Journal(storage, state_uri, "past", SYSTEM)
    for read in journal.take_over():
        journal.feed(read, machine)
    for number in range(Limits().ended_jobs_max):
        facts = list(_job(f"past-{number:06d}", state_uri))
        for fact in facts:
            machine.apply(fact)
        if number == 0:
            journal.append(facts)
    number, durable = journal.number, machine.cluster.durable
    journal.snapshots.write(number, encode_snapshot(number, durable))


def _job(name: str, state_uri: str) -> Iterator[Fact]:
    inputs = tuple(
        one
        for index in range(4)
        for one in one_input(f"{state_uri}/in-{index}.txt", f"in-{index}.txt")
    )
    spec = job_spec(name, inputs=inputs, output_uri=f"{state_uri}/out-{name}")
    plans: tuple[StagePlan, ...] = stage_plans(stages_of(spec), {0: MAPS}, REDUCES)
    wall = SYSTEM.wall()
    yield JobSubmitted(
        job_id=name,
        request_id=object_names.attempt_name(name, AttemptId(TaskId(name, 0, 0), _number(0))),
        spec=spec,
        stages=plans,
        claim_generation="1",
        wall_seconds=wall,
    )
    for stage, plan in enumerate(plans):
        for index in range(plan.tasks):
            output = TaskOutput(records_in=index + 1_000, bytes_in=index + 10_000)
            attempt = AttemptId(TaskId(name, stage, index), _number(index + 1))
            yield TaskWon(attempt=attempt, worker_id=f"worker-{index % 3}", output=output)
    yield JobEnded(job_id=name, state=JobState.SUCCEEDED, wall_seconds=wall)
    yield JobCleaned(name)


def _number(number: int) -> AttemptNumber:
    return AttemptNumber(1, number)
