"""The committer over a store that fails: what has begun is finished, and says why not yet."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from unittest.mock import patch

import pytest

from mrcore.errors import (
    DiskFullError,
    PermissionDeniedError,
    StorageError,
    UnavailableError,
)
from mrcore.master.core.commands import CleanUp, PrepareCommit, RunCommit
from mrcore.master.core.events import (
    CleanedUp,
    CommitFinished,
    CommitPrepared,
    CommitRefused,
    Event,
)
from mrcore.master.core.facts import (
    CommitBegun,
    EpochTaken,
    JobCleaned,
    JobEnded,
    JobSubmitted,
    TaskWon,
)
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.core.orders import Job
from mrcore.master.core.records import JobRecord
from mrcore.master.shell import committer
from mrcore.master.shell.committer import PARALLEL_COMMITS, Committer
from mrcore.master.shell.job_notes import JobNotes
from mrcore.master.shell.objects import Objects
from mrcore.master.shell.plans import Plans
from mrcore.model import object_names, remains
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobState
from mrcore.model.stages import StagePlan
from mrcore.model.task import StoredBadRecords, TaskOutput
from mrcore.output import commit
from mrcore.storage.base import Storage
from mrcore.storage.faulty import FaultKind, FaultyStorage, Plan
from mrcore.util.clock import SYSTEM
from tests.support import stores
from tests.support.commit_world import CommittedJob, make_spec
from tests.support.stage_plans import two_stages
from tests.support.stores import Place, memory_place


@dataclass
class CommitterSetup:
    """A committer whose store obeys `plan` and fails with `error`; one job is ready to commit."""

    place: Place
    inner: Storage
    """The store without its faults."""
    job: CommittedJob
    machine: Machine
    notes: JobNotes
    committer: Committer
    plan: Plan = lambda operation, uri, number: None
    error: Callable[[str], BaseException] = UnavailableError

    def obey(self, command: Job) -> Event | None:
        async def main() -> Event | None:
            async with asyncio.timeout(20):
                return await self.committer.carry_out(command)

        return asyncio.run(main())

    def begin(self) -> None:
        """Prepare, and journal that the commit has begun."""
        event = self.obey(PrepareCommit("job"))
        assert isinstance(event, CommitPrepared)
        self.machine.apply(CommitBegun(job_id="job", plan=event.plan))

    def note(self) -> str:
        return self.notes.get("job", "")


@pytest.fixture
def house() -> Iterator[CommitterSetup]:
    place = memory_place()
    base = place.storage
    notes: JobNotes = {}
    machine = Machine(Limits(), Random(1))
    made: list[CommitterSetup] = []

    def plan(operation: str, uri: str, number: int) -> FaultKind | None:
        return made[0].plan(operation, uri, number)

    def error(text: str) -> BaseException:
        return made[0].error(text)

    storage = FaultyStorage(base, plan, error=error)
    faulty = replace(place, storage=storage)
    plans = Plans(base, place.uri("state"))
    job = CommittedJob(faulty, "job", 2, make_spec(place, overwrite=True))
    objects = Objects(base, place.uri("state"), SYSTEM)
    obeying = Committer(machine, plans, SYSTEM, planner=_no_plan, notes=notes, objects=objects)
    made.append(CommitterSetup(place, base, job, machine, notes, obeying))
    with stores.registered(faulty), patch.object(committer, "_FIRST_PAUSE_SECONDS", 0.0):
        place.put("out/part-00000", b"old")
        place.put("out/_SUCCESS", _old_receipt(job))
        job.begin()
        for fact in _facts(job):
            machine.apply(fact)
        yield made[0]


async def _no_plan(job: JobRecord) -> tuple[tuple[StagePlan, ...], int]:
    raise AssertionError(f"{job.job_id} does not wait")


def _old_receipt(job: CommittedJob) -> bytes:
    old = replace(job, job_id="old", part_count=1, spec=make_spec(job.place, overwrite=False))
    info = job.place.storage.stat(job.place.uri("out/part-00000"))
    old.parts = [TaskOutput(object=info, records_out=1)]
    return old.receipt().encode()


def _facts(job: CommittedJob) -> list[EpochTaken | JobSubmitted | TaskWon]:
    def won(stage: int, index: int, output: TaskOutput) -> TaskWon:
        attempt = AttemptId(TaskId("job", stage, index), AttemptNumber(1, index))
        return TaskWon(attempt=attempt, worker_id="w", output=output)

    submitted = JobSubmitted(
        job_id="job",
        request_id="job",
        spec=job.spec,
        stages=two_stages(1, 2),
        claim_generation=job.generation,
    )
    reduces = [won(1, index, part) for index, part in enumerate(job.parts)]
    return [EpochTaken(1, "w", 0.0), submitted, won(0, 0, TaskOutput()), *reduces]


def first(count: int, operation: str, seen: list[str]) -> Plan:
    """Return a plan that refuses the first `count` operations of a kind."""

    def plan(asked: str, uri: str, number: int) -> FaultKind | None:
        if asked != operation or len(seen) >= count:
            return None
        seen.append(uri)
        return FaultKind.BEFORE

    return plan


@pytest.mark.parametrize(
    "error",
    [
        DiskFullError,
        PermissionDeniedError,
        StorageError,
        UnavailableError,
        lambda text: MemoryError(),
        lambda text: RuntimeError("can't start new thread"),
    ],
)
@pytest.mark.parametrize("operation", ["read", "publish", "delete"])
def test_a_commit_that_has_begun_outlasts_every_refusal(
    house: CommitterSetup, operation: str, error: Callable[[str], BaseException]
) -> None:
    house.begin()
    seen: list[str] = []
    house.plan, house.error = first(4, operation, seen), error
    event = house.obey(RunCommit("job"))
    assert isinstance(event, CommitFinished), event
    assert len(seen) == 4
    assert house.place.get("out/part-00000") == house.job.content(0)
    assert house.place.get("out/_SUCCESS") is not None
    assert house.note() == ""


def test_what_a_commit_waits_for_is_noted_until_it_goes_on(house: CommitterSetup) -> None:
    house.begin()
    notes: list[str] = []

    def plan(operation: str, uri: str, number: int) -> FaultKind | None:
        if operation != "publish" or len(notes) == 3:
            return None
        notes.append(house.note())
        return FaultKind.BEFORE

    house.plan, house.error = plan, lambda text: DiskFullError("No space\nis left.")
    with patch.object(commit, "publish_job", _one_by_one):
        assert isinstance(house.obey(RunCommit("job")), CommitFinished)
    wanted = "could not publish the output; trying again: No space\\nis left."
    assert notes == ["", wanted, wanted]
    assert house.note() == ""


def test_the_pauses_of_a_commit_that_waits_grow_to_a_bound(house: CommitterSetup) -> None:
    house.begin()
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    house.plan, house.error = first(6, "read", []), UnavailableError
    with (
        patch.object(committer, "_FIRST_PAUSE_SECONDS", 1.0),
        patch.object(committer, "_LONGEST_PAUSE_SECONDS", 6.0),
        patch("mrcore.master.shell.committer.asyncio.sleep", sleep),
    ):
        assert isinstance(house.obey(RunCommit("job")), CommitFinished)
    assert pauses == [1.0, 2.0, 4.0, 6.0, 6.0, 6.0]


_publish_job = commit.publish_job


def _one_by_one(*args: object) -> None:
    """Publish with one thread, so that one try meets one fault."""
    _publish_job(*args, parallel=1)  # type: ignore[arg-type]


def test_what_can_never_work_ends_the_job(house: CommitterSetup) -> None:
    house.begin()
    house.place.put("out/part-00001", b"somebody else's")
    event = house.obey(RunCommit("job"))
    assert isinstance(event, CommitRefused)
    assert "written by somebody else" in event.message


def test_a_staged_part_that_is_gone_ends_the_job(house: CommitterSetup) -> None:
    house.begin()
    staged = house.job.parts[1].object
    assert staged is not None
    house.place.storage.delete(staged.uri)
    event = house.obey(RunCommit("job"))
    assert isinstance(event, CommitRefused)
    assert "is gone" in event.message


def test_stored_bad_records_that_are_gone_before_a_commit_are_made_again(
    house: CommitterSetup,
) -> None:
    uri = object_names.staged_object_uri(house.job.spec, "job", "bad-map-00000@1.0.jsonl")
    with house.place.storage.open_write(uri) as writer:
        writer.write(b"{}\n" * 2)
        info = writer.commit()
    stored = StoredBadRecords(2, "map raised ValueError", info)
    task = house.machine.cluster.durable.jobs["job"].task(TaskId("job", 0, 0))
    task.output = TaskOutput(stored_bad_records=stored)
    assert isinstance(house.obey(PrepareCommit("job")), CommitPrepared)
    house.place.storage.delete(uri)
    event = house.obey(PrepareCommit("job"))
    assert isinstance(event, CommitRefused)
    assert event.lost == (AttemptId(TaskId("job", 0, 0), AttemptNumber(1, 0)),)
    assert event.message == (
        "The stored bad records of map-00000 are gone: its task has to run again."
    )


def test_giving_an_output_up_ends_a_commit_that_waits(house: CommitterSetup) -> None:
    house.begin()
    tries: list[str] = []

    def plan(operation: str, uri: str, number: int) -> FaultKind | None:
        if operation != "publish":
            return None
        tries.append(uri)
        claim_uri = object_names.claim_uri(house.job.spec.output_uri)
        house.inner.delete(claim_uri)  # what `mrcore gc OUT --release` does
        return FaultKind.BEFORE

    house.plan, house.error = plan, DiskFullError
    event = house.obey(RunCommit("job"))
    assert isinstance(event, CommitRefused)
    assert "no longer belongs to job" in event.message
    assert tries


def test_before_the_commit_begins_a_full_disk_is_waited_for_and_a_refusal_is_not(
    house: CommitterSetup,
) -> None:
    house.plan, house.error = first(2, "commit", []), DiskFullError
    assert isinstance(house.obey(PrepareCommit("job")), CommitPrepared)
    house.plan, house.error = first(1, "list", []), PermissionDeniedError
    assert isinstance(house.obey(PrepareCommit("job")), CommitRefused)


def test_commits_run_side_by_side_and_leave_the_threads_of_others_alone(
    house: CommitterSetup,
) -> None:
    together = threading.Barrier(PARALLEL_COMMITS, timeout=20)

    async def main() -> None:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for number in range(PARALLEL_COMMITS):
                job_id = f"job-{number}"
                group.create_task(house.committer._retry(together.wait, job_id, "wait", None))

    # Machines of two cores give six threads to everybody together.
    with patch("os.cpu_count", lambda: 2):
        asyncio.run(main())


def test_a_job_that_failed_leaves_its_remains_before_it_is_forgotten(house: CommitterSetup) -> None:
    house.machine.apply(JobEnded(job_id="job", state=JobState.FAILED, message="enough"))
    durable = house.machine.cluster.durable
    record = durable.jobs["job"]
    assert isinstance(house.obey(CleanUp("job", JobState.FAILED)), CleanedUp)
    # A later master may clean up again, and find them there.
    assert isinstance(house.obey(CleanUp("job", JobState.FAILED)), CleanedUp)
    content = house.place.get("state/jobs/job/remains")
    assert content is not None
    left = remains.decode(content)
    assert (left.spec, left.state, left.message) == (house.job.spec, JobState.FAILED, "enough")
    assert [stage.name for stage in left.stages] == ["map", "reduce"]
    assert [task.output for task in left.stages[1].tasks] == house.job.parts
    assert [task.winner for task in left.stages[1].tasks] == [
        AttemptNumber(1, 0),
        AttemptNumber(1, 1),
    ]
    house.machine.apply(JobCleaned("job"))
    assert record.cleaned
    kept = [task.output for task in record.stages[1].tasks]
    assert [output is not None and output.object for output in kept] == [None, None]
    assert durable.ended_bytes == record.kept_bytes


def test_a_job_that_was_committed_leaves_none(house: CommitterSetup) -> None:
    house.begin()
    house.machine.apply(JobEnded(job_id="job", state=JobState.SUCCEEDED))
    assert isinstance(house.obey(CleanUp("job", JobState.SUCCEEDED)), CleanedUp)
    assert house.place.get("state/jobs/job/remains") is None
