"""Calls in the machine: what is shown of them, and what they cost once they are released."""

from __future__ import annotations

from random import Random

from mrcore.master.core import views
from mrcore.master.core.durable_calls import NO_TASK
from mrcore.master.core.events import CallsDone, CallsSent, CallsUnwanted, Synced
from mrcore.master.core.facts import CallFailed, CallsAdded
from mrcore.master.core.limits import Limits
from mrcore.model.attempts import AttemptState, HeldAttempt
from mrcore.model.calls import CallPlan
from mrcore.model.ids import AttemptId, TaskId
from mrcore.model.job import JobState
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput, TaskResult
from tests.support.call_walk import Walk


def begun(calls: int, *, retries: int = 0) -> Walk:
    """Return a cluster with one session, whose calls a worker holds as far as it has slots."""
    walk = Walk(Random(retries), workers=1)
    walk.rng = Random(1)  # its first session has no retries, and no answer is lost at first
    walk.open()
    walk.step(CallsSent("s0", 0, (CallPlan("0" * 64),) * calls))
    return walk


def report(walk: Walk, results: dict[AttemptId, TaskResult]) -> None:
    """Let the worker report these results, and take up what it is given."""
    hands = walk.workers["w0"]
    walk.made.update(results)
    hands.sequence += 1
    held = tuple(
        HeldAttempt(attempt, AttemptState.FINISHED, result=results[attempt])
        if attempt in results
        else HeldAttempt(attempt, AttemptState.RUNNING)
        for attempt in hands.held
    )
    walk.step(Synced("w0", 1, hands.sequence, 1, slots=2, held=held, park=False))
    hands.held = {a.id: a.state for a in walk.machine.cluster.workers["w0"].held.values()}


def test_a_session_shows_what_failed_was_cancelled_and_waits() -> None:
    walk = begun(3)
    needs = (TaskId("s0", 0, 1),)
    walk.step(CallsSent("s0", 3, (CallPlan("0" * 64, needs=needs),)))
    report(walk, {})
    first, second = sorted(walk.workers["w0"].held)
    no = TaskFailure(kind=FailureKind.USER, message="ValueError: no", exception=b"E" * 100)
    report(walk, {first: no})
    walk.step(CallsUnwanted("s0", (2,)))
    view = views.job_view(walk.machine.cluster, "s0")
    assert view is not None
    (stage,) = view.stages
    assert (stage.name, stage.tasks, stage.completed, stage.in_progress) == ("call", 4, 2, 1)
    assert view.state is JobState.RUNNING
    assert view.note == "calls: 1 failed, 1 cancelled, 1 waiting for the values of others"
    (recent,) = walk.machine.cluster.durable.jobs["s0"].recent_failures
    assert recent.failure.exception == b"", "only the client reads it"
    report(walk, {second: TaskOutput(result=b"v")})
    assert [a.task.index for a in walk.workers["w0"].held] == [3]


def test_released_calls_cost_a_place_in_two_lists() -> None:
    walk = begun(500)
    while walk.machine.cluster.durable.jobs["s0"].calls.plans:  # type: ignore[union-attr]
        report(walk, {a: TaskOutput(result=b"value") for a in walk.workers["w0"].held})
    record, live = walk.machine.cluster.durable.jobs["s0"], walk.machine.cluster.jobs["s0"]
    assert record.calls is not None
    assert record.calls.kept_bytes > 500 * 1_000
    walk.step(CallsDone("s0", tuple(range(500))))
    assert record.calls.kept_bytes == 0
    assert {id(task) for task in record.stages[0].tasks} == {id(NO_TASK)}
    assert len({id(task) for task in live.stages[0].tasks}) == 1
    assert not any((record.calls.ended, record.calls.plans, record.calls.needed))


def test_calls_of_one_message_are_one_fact() -> None:
    walk = begun(1_000)
    (added,) = (fact for fact in walk.facts if isinstance(fact, CallsAdded))
    assert len(added.calls) == 1_000


def test_what_is_said_of_a_lost_argument_has_a_bound() -> None:
    walk = begun(1)
    for index in range(1, 60):
        needs = (TaskId("s0", 0, index - 1),)
        walk.step(CallsSent("s0", index, (CallPlan("0" * 64, needs=needs),)))
    report(walk, {})
    (attempt,) = walk.workers["w0"].held
    no = TaskFailure(kind=FailureKind.USER, message="ValueError: no", exception=b"E" * 10_000)
    report(walk, {attempt: no})
    failed = [fact for fact in walk.facts if isinstance(fact, CallFailed)]
    assert len(failed) == 60
    assert max(len(fact.failure.message) for fact in failed) <= 1_000
    assert [len(fact.failure.exception) for fact in failed] == [10_000] + [0] * 59


def test_calls_that_have_begun_are_listed_up_to_a_bound() -> None:
    walk = begun(2)
    walk.machine.cluster.limits = Limits(calls_started_max=1)
    report(walk, {})
    report(walk, {})
    assert walk.machine.calls.take_started("s0") == [0]
    report(walk, {a: TaskOutput(result=b"value") for a in walk.workers["w0"].held})
    assert walk.machine.calls.take_started("s0") == [], "they are listed once"
