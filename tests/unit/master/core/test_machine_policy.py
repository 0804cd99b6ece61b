"""Policies as pure functions: numbers in, a decision out."""

from __future__ import annotations

import statistics
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcore.master.core import policy
from mrcore.master.core.events import WorkerAbout
from mrcore.master.core.limits import Limits
from mrcore.master.core.records import (
    FailedAttempt,
    JobRecord,
    RaisedError,
    StageRecord,
    TaskRecord,
)
from mrcore.model.ids import AttemptNumber
from mrcore.model.task import BadRecord, FailureKind, StoredBadRecords, TaskFailure, TaskOutput
from tests.support.specs import VERSIONS, job_spec
from tests.support.stage_plans import two_stages

LIMITS = Limits()
SPEC = job_spec()


@given(st.lists(st.floats(0.001, 1_000.0), min_size=1, max_size=600))
@settings(max_examples=50)
def test_median_is_that_of_the_newest_durations(seconds: list[float]) -> None:
    durations = policy.Durations()
    for each in seconds:
        durations.add(each)
    newest = seconds[-policy.DURATIONS_KEPT :]
    assert durations.median() == statistics.median_high(newest)
    assert len(durations) == len(newest)


def test_no_median_before_any_task_has_completed() -> None:
    assert policy.Durations().median() is None


@pytest.mark.parametrize(
    ("jobs", "chosen"),
    [
        ([], None),
        ([(0, 5, 1), (9, 7, 2)], 1),  # priority before everything
        ([(0, 5, 1), (0, 4, 2)], 1),  # then who was served longest ago
        ([(0, 0, 2), (0, 0, 1)], 1),  # then the oldest
    ],
)
def test_choice_of_the_job(jobs: list[tuple[int, int, int]], chosen: int | None) -> None:
    assert policy.choose_job(jobs) == chosen


@pytest.mark.parametrize(
    ("median", "idle", "expected"),
    [
        (None, 1_000, 0),  # nothing is known yet
        (5.0, 1_000, 0),  # slow tasks gain nothing
        (0.5, 1_000, 2),  # one a slot
        (0.001, 10_000, 400),  # what bridges 0.2 s
        (0.001, 40, 20),  # no more than half of what is idle, with half of the slots
        (0.0, 10_000, 512),  # at most 256 a slot
    ],
)
def test_prefetch(median: float | None, idle: int, expected: int) -> None:
    assert policy.prefetch(median, idle, slots=2, all_slots=4, limits=LIMITS) == expected


@given(st.integers(1, 10_000), st.integers(0, 2**32))
def test_back_off_is_at_once_first_and_never_beyond_the_cap(retries: int, seed: int) -> None:
    delay = policy.retry_delay(retries, Random(seed), LIMITS)
    assert 0.0 <= delay <= LIMITS.retry_cap_seconds
    assert (delay == 0.0) == (retries == 1)


def test_back_off_grows_and_has_jitter() -> None:
    early = [policy.retry_delay(2, Random(seed), LIMITS) for seed in range(20)]
    late = [policy.retry_delay(7, Random(seed), LIMITS) for seed in range(20)]
    assert max(early) < min(late)
    assert len(set(late)) > 10


@pytest.mark.parametrize(
    ("elapsed", "median", "waiting", "attempts", "expected"),
    [
        (14.9, 1.0, 0, 1, False),  # the floor
        (15.0, 1.0, 0, 1, True),
        (39.9, 20.0, 0, 1, False),  # twice the median
        (40.0, 20.0, 0, 1, True),
        (99.0, 1.0, 1, 1, False),  # not while tasks are idle
        (99.0, 1.0, 0, 2, False),  # one backup a task
        (99.0, None, 0, 1, False),  # nothing to compare with
    ],
)
def test_backups(
    elapsed: float, median: float | None, waiting: int, attempts: int, expected: bool
) -> None:
    assert policy.should_back_up(elapsed, median, waiting, attempts, LIMITS) is expected


def failed(kind: FailureKind, **counts: Any) -> TaskRecord:
    """Return a task whose last failure is of this kind."""
    task = TaskRecord(last_failure=TaskFailure(kind=kind, message="why"))
    for name, count in counts.items():
        setattr(task, name, count)
    return task


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (TaskRecord(), None),
        (failed(FailureKind.USER, failures=3), None),
        (failed(FailureKind.USER, failures=4), "failed 4 times: why"),
        (failed(FailureKind.USER, failures=3, raised_errors=[RaisedError("a", 1)]), None),
        (
            failed(FailureKind.USER, failures=2, raised_errors=[RaisedError("a", 2)]),
            "failed twice with the same error, so it was not tried again: why",
        ),
        (failed(FailureKind.DATA, failures=2, same_data=1), None),
        (failed(FailureKind.DATA, failures=2, same_data=2), "failed twice in the same way: why"),
        (failed(FailureKind.INFRASTRUCTURE, infrastructure=7), None),
        (failed(FailureKind.INFRASTRUCTURE, infrastructure=8), "not by its code"),
        (TaskRecord(losses=8), "lost its output 8 times"),
    ],
)
def test_verdict(task: TaskRecord, says: str | None) -> None:
    verdict = policy.verdict(task, SPEC, LIMITS)
    assert verdict is None if says is None else verdict is not None and says in verdict


def test_a_failure_is_counted_by_its_number() -> None:
    task = TaskRecord(failed=[FailedAttempt(AttemptNumber(1, 2), "w1")])
    assert task.counted(AttemptNumber(1, 2))
    assert not task.counted(AttemptNumber(2, 2))


def test_too_many_bad_records_are_shown_by_the_last_of_them() -> None:
    def skipped(*causes: str) -> TaskRecord:
        bad = tuple(BadRecord("in/x", number, cause, "a") for number, cause in enumerate(causes))
        return TaskRecord(output=TaskOutput(bad_records=bad, records_in=9))

    stored = TaskOutput(stored_bad_records=StoredBadRecords(7, "map raised KeyError"))
    plans = two_stages(3, 1)
    map_tasks = [skipped("map raised ValueError", "map raised TypeError"), skipped(), TaskRecord()]
    job = JobRecord(
        job_id="j",
        request_id="r",
        spec=job_spec(max_bad_records=1),
        claim_generation="",
        input_bytes=0,
        submitted_seconds=0.0,
        serial=1,
        stages=[StageRecord(plans[0], "map", map_tasks), StageRecord(plans[1], "reduce", [])],
        bad_records=2,
    )
    says = policy.overrun(job, LIMITS)
    assert says is not None
    assert says.startswith("2 bad records had to be skipped, and 1 is allowed")
    assert says.endswith("or allow more. The last one: map raised TypeError.")
    map_tasks[2].output = stored
    assert str(policy.overrun(job, LIMITS)).endswith("The last one: map raised KeyError.")
    job.bad_records = 1
    assert policy.overrun(job, LIMITS) is None


def test_mixed_kinds_name_the_tasks() -> None:
    kinds: list[dict[str, str]] = [{}, {"": "int"}, {"": "int"}, {"": "float"}]
    outputs = [("map", n, TaskOutput(number_kinds=kind)) for n, kind in enumerate(kinds)]
    says = policy.mixed_kinds(outputs)
    assert says is not None
    assert "map-00001 emitted int and map-00003 float as keys" in says
    assert policy.mixed_kinds(outputs[:3]) is None


def test_mixed_kinds_name_the_position() -> None:
    kinds = [TaskOutput(number_kinds={"1.2": kind}) for kind in ("int", "float")]
    outputs = [("map", n, output) for n, output in enumerate(kinds)]
    says = policy.mixed_kinds(outputs)
    assert says is not None
    assert "map-00001 float as position 1.2 of the keys: " in says


@pytest.mark.parametrize(
    ("about", "says"),
    [
        (WorkerAbout(python="3.11.7", mrcore="0.1.0"), None),
        (WorkerAbout(), None),
        (WorkerAbout(python="3.12.1"), "Python 3.12 instead of 3.11"),
        (WorkerAbout(python="3.11", mrcore="0.2.0"), "mrcore 0.2.0 instead of 0.1.0"),
    ],
)
def test_versions(about: WorkerAbout, says: str | None) -> None:
    assert policy.mismatch(VERSIONS, about) == says
