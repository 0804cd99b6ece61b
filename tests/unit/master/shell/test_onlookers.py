"""People who look on: what their looks ask of workers, and for how long."""

from __future__ import annotations

from mrcore.master.shell.onlookers import KEPT_SECONDS, LOOKED_AT_MAX, Onlookers
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from tests.support.fake_clock import FakeClock


def attempt(job_id: str, stage: int = 0, index: int = 0) -> AttemptId:
    return AttemptId(TaskId(job_id, stage, index), AttemptNumber(1, 1))


def test_a_look_counts_for_some_seconds() -> None:
    clock = FakeClock()
    onlookers = Onlookers(clock)
    assert onlookers.look_seconds(["a"], 1) == 0.0
    onlookers.watch("a")
    clock.advance(KEPT_SECONDS - 1)
    assert onlookers.look_seconds(["b", "a"], 1) == 1.0
    assert onlookers.look_seconds(["b"], 1) == 0.0
    onlookers.watch("a")
    clock.advance(KEPT_SECONDS - 1)
    assert onlookers.look_seconds(["a"], 1) == 1.0
    clock.advance(1)
    assert onlookers.look_seconds(["a"], 1) == 0.0


def test_many_workers_report_less_often() -> None:
    onlookers = Onlookers(FakeClock())
    onlookers.watch("a")
    assert [onlookers.look_seconds(["a"], count) for count in (50, 200, 1_000)] == [1.0, 4.0, 20.0]


def test_who_follows_a_task_follows_nothing_else() -> None:
    clock = FakeClock()
    onlookers = Onlookers(clock)
    onlookers.watch("a")
    assert not onlookers.is_followed(attempt("a"))
    onlookers.follow("a", 1, 3)
    assert onlookers.is_followed(attempt("a", 1, 3))
    assert not onlookers.is_followed(attempt("a", 1, 2))
    assert not onlookers.is_followed(attempt("a", 0, 3))
    assert onlookers.look_seconds(["a"], 1) == 1.0
    onlookers.follow("b", None, 7)
    assert onlookers.is_followed(attempt("b", 1, 2))
    clock.advance(KEPT_SECONDS)
    assert not onlookers.is_followed(attempt("b", 1, 2))


def test_only_so_many_looks_are_kept_at_once() -> None:
    onlookers = Onlookers(FakeClock())
    for number in range(LOOKED_AT_MAX + 1):
        onlookers.watch(f"job-{number}")
    assert onlookers.look_seconds(["job-0"], 1) == 0.0
    assert onlookers.look_seconds(["job-1", f"job-{LOOKED_AT_MAX}"], 1) == 1.0
