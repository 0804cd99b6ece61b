"""Each bound of the master, driven to its end, with the sentence that a user gets there."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from itertools import chain

import pytest

from mrcore.master.core import views
from mrcore.master.core.durable import Durable
from mrcore.master.core.events import CancelAsked, CleanedUp, CommitFinished, CommitPrepared
from mrcore.master.core.facts import (
    AttemptFailed,
    CommitBegun,
    EpochTaken,
    Fact,
    JobEnded,
    JobSubmitted,
    TaskWon,
)
from mrcore.master.core.limits import Limits
from mrcore.master.core.records import JobRecord
from mrcore.model.commit_plan import CommitPlan, ObjectVersion
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobState, TaskState
from mrcore.model.stages import Part, Result, Splits, StagePlan
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput
from mrcore.storage.base import ObjectInfo
from tests.support.machine_cluster import Cluster
from tests.support.specs import job_spec, one_input


def counting(*names: str) -> TaskOutput:
    return TaskOutput(digest=b"x", elapsed_seconds=0.001, counters=dict.fromkeys(names, 1))


def failing(message: str, traceback: str) -> TaskFailure:
    return TaskFailure(kind=FailureKind.USER, message=message, traceback=traceback)


def job_of(cluster: Cluster) -> JobRecord:
    job = cluster.machine.cluster.job("j")
    assert job is not None
    return job


def test_a_job_that_counts_under_too_many_names_fails_with_a_sentence() -> None:
    cluster = Cluster(Limits(counters_max=3, prefetch_per_slot_max=0), workers=1)
    cluster.submit("j", maps=9, reduces=0)
    for names in ([], ["a", "b"], ["b", "c"]):
        cluster.result = counting(*names)
        cluster.sync("w0")
    assert job_of(cluster).state is JobState.RUNNING
    assert job_of(cluster).counters == {"a": 1, "b": 2, "c": 1}
    cluster.result = counting("d")
    cluster.sync("w0")
    assert job_of(cluster).state is JobState.FAILED
    assert job_of(cluster).message == (
        "The job counts under 4 names, and 3 is the limit. Use fewer names for context.count(), "
        "or emit such counts as pairs."
    )
    cluster.machine.check()


def test_the_counters_of_each_task_are_bounded_by_their_sum() -> None:
    cluster = Cluster(Limits(counts_max=4, prefetch_per_slot_max=0), workers=1)
    cluster.submit("j", maps=9, reduces=0)
    cluster.result = counting("a", "b")
    for _ in range(3):
        cluster.sync("w0")
    assert (job_of(cluster).counts, job_of(cluster).state) == (4, JobState.RUNNING)
    cluster.sync("w0")
    assert job_of(cluster).state is JobState.FAILED
    assert job_of(cluster).message.startswith(
        "The tasks of the job have 6 counters in all, and 4 is the limit"
    )


def test_an_ended_job_keeps_what_people_look_at() -> None:
    limits = Limits(ended_inputs_max=2, ended_failed_max=1, prefetch_per_slot_max=0)
    cluster = Cluster(limits, workers=1)
    cluster.submit("j", maps=1, reduces=0, inputs=5)
    job = job_of(cluster)
    for result, done in ((failing("oops", "a traceback"), 2), (counting("seen"), 3)):
        cluster.result = result
        while job.won + job.failed < done:
            cluster.sync("w0")
            cluster.wait()
    cluster.step(CommitPrepared("j", CommitPlan((ObjectVersion("mem://out/part-00000", "1"),))))
    assert job_of(cluster).commit_plan is not None
    cluster.step(CommitFinished("j"))
    assert job.state is JobState.SUCCEEDED
    assert len(job.spec.inputs) == 2
    assert job.commit_plan is None
    assert job.counters == {"seen": 1}
    assert [recent.failure.traceback for recent in job.recent_failures] == ["a traceback"] * 2
    (task,) = job.stages[0].tasks
    assert task.last_failure is None
    assert len(task.failed) == 1
    cluster.machine.check()


def test_few_tasks_of_a_job_keep_their_traceback() -> None:
    cluster = Cluster(Limits(last_failures_max=2, prefetch_per_slot_max=0), workers=4)
    cluster.submit("j", maps=4, reduces=0)
    for worker in cluster.held:
        cluster.sync(worker)
    cluster.result = failing("w" * 600, "a traceback")
    for worker in cluster.held:
        cluster.sync(worker)
    failures = [task.last_failure for task in job_of(cluster).stages[0].tasks]
    assert [failure.traceback for failure in failures if failure] == ["", "", *["a traceback"] * 2]
    assert [len(failure.message) for failure in failures if failure] == [500, 500, 600, 600]
    cluster.machine.check()


def test_ended_jobs_are_forgotten_by_their_bytes() -> None:
    cluster = Cluster(Limits(ended_bytes_max=100_000))
    for n in range(9):
        cluster.submit(f"j{n}", maps=1, reduces=0, param="x" * 10_000)
        cluster.step(CancelAsked(f"j{n}", ""))
    assert list(cluster.machine.cluster.durable.jobs) == ["j6", "j7", "j8"]
    assert cluster.machine.cluster.durable.ended_bytes < 100_000
    cluster.machine.check()


def test_of_a_very_large_job_the_sums_are_kept() -> None:
    cluster = Cluster(Limits(ended_job_bytes_max=20_000, prefetch_per_slot_max=0), workers=1)
    cluster.submit("j", maps=30, reduces=0)
    for _ in range(4):
        cluster.sync("w0")
    job = job_of(cluster)
    cluster.step(CancelAsked("j", ""))
    assert len({id(task) for task in job.stages[0].tasks}) == 30  # those who go on need them
    cluster.step(CleanedUp("j"))
    assert len({id(task) for task in job.stages[0].tasks}) == 2
    assert (job.task_count, job.stages[0].completed, job.stages[0].records_in) == (30, 3, 30)
    states = [view.state for _, view in views.task_views(cluster.machine.cluster, "j")]
    assert states == [TaskState.COMPLETED] * 3 + [TaskState.IDLE] * 27
    cluster.machine.check()


@pytest.mark.parametrize("ended_job_bytes_max", [20_000, Limits().ended_job_bytes_max])
def test_results_outlive_their_job_however_large_it_is(ended_job_bytes_max: int) -> None:
    limits = Limits(ended_job_bytes_max=ended_job_bytes_max, prefetch_per_slot_max=0)
    cluster = Cluster(limits, workers=1)
    cluster.submit("j", maps=0, reduces=0, stages=(StagePlan(30, Splits(), Result()),))
    cluster.sync("w0")
    for n in range(30):
        long = ObjectInfo(f"mem://out/{n}", 99, "1") if n % 3 == 0 else None
        cluster.result = TaskOutput(result=b"%d" % n * 100, object=long)
        cluster.sync("w0")
    cluster.step(CommitPrepared("j", CommitPlan()))
    cluster.step(CommitFinished("j"))
    job = job_of(cluster)
    assert job.state is JobState.SUCCEEDED
    found = [task.output for task in job.stages[0].tasks]
    assert [output.result for output in found if output] == [b"%d" % n * 100 for n in range(30)]
    long_ones = [output.object.uri for output in found if output and output.object]
    assert long_ones == [f"mem://out/{n}" for n in range(0, 30, 3)]
    assert cluster.machine.cluster.durable.ended_bytes > job.result_bytes == 5_000
    cluster.machine.check()
    replay = Durable()
    for fact in cluster.facts:
        replay.apply(fact, limits)
    assert replay == cluster.machine.cluster.durable


def test_a_job_whose_results_are_too_large_together_fails_with_a_sentence() -> None:
    cluster = Cluster(Limits(result_bytes_max=250, prefetch_per_slot_max=0), workers=1)
    cluster.submit("j", maps=0, reduces=0, stages=(StagePlan(9, Splits(), Result()),))
    cluster.result = TaskOutput(result=b"r" * 100)
    for _ in range(3):
        cluster.sync("w0")
    assert (job_of(cluster).result_bytes, job_of(cluster).state) == (200, JobState.RUNNING)
    cluster.sync("w0")
    assert job_of(cluster).state is JobState.FAILED
    assert job_of(cluster).message == (
        "The results of the job's tasks have 300 bytes in all, and 250 is the limit. Return less "
        "from each task, or write an output."
    )
    cluster.machine.check()


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (Limits(ended_stories_max=2), ["j3", "j4"]),
        (Limits(ended_story_tasks_max=30), ["j2", "j3", "j4"]),
        (Limits(ended_story_lines_max=1), ["j4"]),
        (Limits(ended_story_tasks_max=9), []),
        (Limits(ended_jobs_max=1), ["j4"]),
    ],
)
def test_stories_of_ended_jobs_are_bounded(limits: Limits, kept: list[str]) -> None:
    cluster = Cluster(limits, workers=1)
    for n in range(5):
        cluster.submit(f"j{n}", maps=10, reduces=0)
        cluster.sync("w0")
        cluster.step(CancelAsked(f"j{n}", ""))
        cluster.sync("w0")
        cluster.machine.check()
    stories = cluster.machine.cluster.stories
    assert [f"j{n}" for n in range(5) if stories.get(f"j{n}") is not None] == kept


def ended_jobs(kind: str, count: int, limits: Limits) -> Durable:
    """Return what is kept of jobs that have ended, large in one way."""
    durable = Durable()
    durable.apply(EpochTaken(1, "w", 0.0), limits)
    for n in range(count):
        job_id = f"job-{n}"
        inputs = [f"mem://in/{n}/{i}" for i in range(300 if kind == "inputs" else 1)]
        spec = job_spec(
            job_id,
            sha256=f"{n}",
            inputs=tuple(chain.from_iterable(one_input(uri, uri) for uri in inputs)),
            params={f"{n} {i}": f"{i}é" * 20 for i in range(40 if kind == "params" else 1)},
        )
        maps = 40 if kind in ("tasks", "failures", "results") else 3
        writes = Result() if kind == "results" else Part()
        submitted = JobSubmitted(
            job_id=job_id,
            request_id=job_id,
            spec=spec,
            stages=(StagePlan(maps, Splits(), writes),),
            claim_generation="1",
        )
        durable.apply(submitted, limits)
        for index in range(maps):
            for fact in task_facts(kind, TaskId(job_id, 0, index)):
                durable.apply(fact, limits)
        old = tuple(ObjectVersion(f"mem://out/{n}/{i}", str(i)) for i in range(100))
        durable.apply(CommitBegun(job_id=job_id, plan=CommitPlan(old)), limits)
        durable.apply(JobEnded(job_id=job_id, state=JobState.SUCCEEDED), limits)
    return durable


def task_facts(kind: str, task: TaskId) -> Iterator[Fact]:
    """Yield the failures and the success of a task, each with texts of its own."""
    for n in range(9 if kind == "failures" else 0):
        attempt = AttemptId(task, AttemptNumber(1, 1_000 * task.index + n))
        failure = failing(f"{n} failed", f"{task.index} {n} " * 50)
        yield AttemptFailed(attempt=attempt, worker_id=f"worker {task.index} {n}", failure=failure)
    names = [f"{task} {n}" for n in range(40 if kind == "counters" else 0)]
    output = TaskOutput(
        digest=f"{task}".encode(),
        section_bytes=tuple(range(1_000, 1_100)),
        records_in=10**6 + task.index,
        bytes_in=10**9 + task.index,
        counters={name: 10**9 + n for n, name in enumerate(names)},
        elapsed_seconds=task.index / 7,
        result=f"{task} ".encode() * 20 if kind == "results" else b"",
        object=ObjectInfo(f"mem://out/{task}", task.index, "1") if kind == "results" else None,
    )
    attempt = AttemptId(task, AttemptNumber(1, 1_000 * task.index + 999))
    yield TaskWon(attempt=attempt, worker_id=f"worker {task.index}", output=output)


@pytest.mark.parametrize("kind", ["inputs", "params", "tasks", "failures", "counters", "results"])
def test_ended_jobs_take_no_more_memory_than_they_are_weighed_at(kind: str) -> None:
    """1,000 ended jobs of whatever size stay below `ended_bytes_max`, which is 256 MiB."""
    limits = Limits(ended_bytes_max=200_000)
    ended_jobs(kind, 1, limits)  # what is imported and cached at the first time is not theirs
    gc.collect()
    tracemalloc.start()
    try:
        durable = ended_jobs(kind, 12, limits)
        gc.collect()
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(durable.ended) == len(durable.jobs)
    assert taken_bytes < durable.ended_bytes <= 200_000, f"{len(durable.ended)} jobs"
