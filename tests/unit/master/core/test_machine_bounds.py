"""Bounds of all that the machine keeps."""

from __future__ import annotations

from random import Random

import pytest

from mrcore.master.core.commands import PrepareCommit
from mrcore.master.core.events import CancelAsked, CommitRefused, NothingDone, Synced, WinnerMissing
from mrcore.master.core.facts import EpochTaken, JobEnded, JobSubmitted, WorkerJoined, WorkersLeft
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.model.attempts import AttemptState, HeldAttempt
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobState
from mrcore.model.task import BlockKey, FailureKind, TaskFailure, TaskOutput
from tests.support.machine_cluster import Cluster
from tests.support.specs import job_spec
from tests.support.stage_plans import two_stages


def test_a_worker_that_starts_again_and_again_leaves_few_timers() -> None:
    cluster = Cluster(Limits(workers_max=2, void_entries_max=3))
    for session in range(1, 100):
        cluster.now += 0.001
        cluster.step(Synced("w0", session, 1, 1, slots=1))
        cluster.machine.check()
    assert len(cluster.machine.cluster.timers) <= 2 * 1 + 3
    cluster.wait()  # the timer that counts is among them
    while cluster.machine.cluster.sorted_workers():
        cluster.wait()


def test_jobs_that_end_leave_few_back_offs() -> None:
    cluster = Cluster(Limits(live_tasks_max=2, void_entries_max=3, prefetch_per_slot_max=0))
    cluster.result = TaskFailure(kind=FailureKind.USER, message="oops")
    for n in range(30):
        cluster.submit(f"j{n}", maps=1, reduces=0)
        for _ in range(3):
            cluster.sync("w0")
        cluster.machine.check()
        cluster.step(CancelAsked(f"j{n}", ""))
        cluster.machine.check()


def test_a_task_that_is_adopted_again_and_again_leaves_few_entries_in_its_queue() -> None:
    cluster = Cluster(Limits(void_entries_max=1, prefetch_per_slot_max=0))
    cluster.submit("j", maps=1, reduces=0)
    cluster.sync("w0")
    (attempt,) = cluster.held["w0"]
    job = cluster.machine.cluster.jobs.get("j")
    assert job is not None
    for n in range(20):
        cluster.step(
            Synced(
                "w0", 1, 1_000 + n, 1, slots=1, held=(HeldAttempt(attempt, AttemptState.RUNNING),)
            )
        )
        cluster.machine.check()
        while not job.stages[0].ready:
            cluster.wait()
        cluster.machine.check()
    assert job.stages[0].tasks[0].expiries == 20


def test_a_task_remembers_few_of_the_workers_that_it_keeps_away_from() -> None:
    cluster = Cluster(Limits(avoided_max=3, infrastructure_max=100), workers=9)
    cluster.submit("j", maps=1, reduces=0)
    cluster.result = TaskFailure(kind=FailureKind.INFRASTRUCTURE, message="503")
    job = cluster.machine.cluster.jobs.get("j")
    assert job is not None
    for worker in cluster.held:
        while not cluster.held[worker]:
            cluster.sync(worker)
            cluster.wait()
        cluster.sync(worker)
        cluster.machine.check()
    task = job.stages[0].tasks[0]
    assert list(task.avoid) == task.suspects == ["w6", "w7", "w8"]


def submitted(maps: int) -> JobSubmitted:
    spec = job_spec(map_only=True)
    return JobSubmitted(
        job_id="j", request_id="j", spec=spec, stages=two_stages(maps, 0), claim_generation="1"
    )


def test_a_master_awaits_no_more_former_workers_than_it_may_have() -> None:
    machine = Machine(Limits(workers_max=4), Random(0))
    machine.apply(submitted(1))
    for n in range(10):
        machine.apply(WorkerJoined(f"w{n}"))
    machine.apply(EpochTaken(12, "writer", 0.0))
    facts = machine.take_over(12, 0.0, 0.0).facts
    assert facts == [WorkersLeft(tuple(f"w{n}" for n in range(6)))]
    assert list(machine.cluster.awaited) == ["w6", "w7", "w8", "w9"]
    machine.check()


def test_the_keys_of_a_total_order_are_bounded_over_the_whole_job() -> None:
    cluster = Cluster(Limits(block_bytes_max=1_000, prefetch_per_slot_max=0), workers=1)
    cluster.submit("j", maps=9, reduces=1)
    cluster.result = TaskOutput(digest=b"x", blocks=(BlockKey(b"k" * 100, 10, 1),))
    job = cluster.machine.cluster.job("j")
    assert job is not None
    for done in range(4):
        cluster.sync("w0")
        assert (job.stages[0].completed, job.state) == (done, JobState.RUNNING)
        cluster.machine.check()
    cluster.sync("w0")
    assert job.state is JobState.FAILED
    assert job.message == (
        "To cut the job's total order takes 1,200 bytes of the master, and 1,000 is the limit. "
        "Sort less data in one job, use shorter keys, or leave out the total order."
    )


def complete(cluster: Cluster) -> PrepareCommit:
    """Run a job until its commit is to be prepared."""
    cluster.submit("j", maps=1, reduces=0)
    cluster.sync("w0")
    cluster.sync("w0")
    return PrepareCommit("j")


@pytest.mark.parametrize("lost", [(), (AttemptId(TaskId("j", 0, 0), AttemptNumber(1, 9)),)])
def test_a_commit_that_nothing_speaks_against_is_prepared_once(lost: tuple[AttemptId, ...]) -> None:
    cluster = Cluster(Limits(), workers=1)
    command = complete(cluster)
    event = CommitRefused("j", "It is gone.", lost) if lost else NothingDone(command)
    outcome = cluster.machine.step(event, cluster.now)
    assert command not in outcome.commands
    (ended,) = outcome.facts
    assert isinstance(ended, JobEnded)
    assert ended.state is JobState.FAILED
    assert ended.message


def test_a_commit_is_prepared_anew_for_each_loss() -> None:
    cluster = Cluster(Limits(), workers=1)
    command = complete(cluster)
    job = cluster.machine.cluster.job("j")
    assert job is not None
    winner = job.stages[0].tasks[0].winner
    assert winner is not None
    cluster.step(WinnerMissing(AttemptId(TaskId("j", 0, 0), winner)))
    cluster.sync("w0")
    cluster.sync("w0")
    assert job.complete
    commands = cluster.machine.step(NothingDone(command), cluster.now).commands
    assert commands == [command]
    cluster.step(NothingDone(command))
    assert job.state is JobState.FAILED
