"""Each bound of the master, driven to its end, with the sentence that a user gets there."""

from __future__ import annotations

from master.limits import Limits
from master.state import JobRecord
from mrcore.job import JobState
from mrcore.tasks.spec import TaskOutput
from tests.unit.test_machine_scale import Cluster


def counting(*names: str) -> TaskOutput:
    return TaskOutput(digest=b"x", elapsed_seconds=0.001, counters=dict.fromkeys(names, 1))


def job_of(cluster: Cluster) -> JobRecord:
    job = cluster.machine.job("j")
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
