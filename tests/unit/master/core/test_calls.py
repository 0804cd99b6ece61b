"""Calls in the machine: what is shown of them, and what they cost once they are released."""

from __future__ import annotations

from random import Random

import pytest

from mrcore.master.core import views
from mrcore.master.core.durable import Durable
from mrcore.master.core.durable_calls import NO_TASK, unpack
from mrcore.master.core.events import (
    CallsDone,
    CallsSent,
    CallsUnwanted,
    Event,
    Submitted,
    Synced,
)
from mrcore.master.core.facts import CallFailed, CallsAdded, EpochTaken, Fact, TaskWon
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.core.room import is_short
from mrcore.master.core.volatile import NO_LIVE_TASK
from mrcore.master.shell.snapshots import Snapshots, encode_snapshot
from mrcore.model import object_names
from mrcore.model.attempts import AttemptState, HeldAttempt
from mrcore.model.calls import CallPlan
from mrcore.model.ids import AttemptId, TaskId
from mrcore.model.job import JobState, Session
from mrcore.model.stages import Calls, Result, StagePlan
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput, TaskResult
from mrcore.storage.memory import MemoryStorage
from tests.support.specs import NO_VERSIONS, call_spec


class Desk:
    """A master with one session, whose calls one worker of two slots holds."""

    def __init__(self, calls: int, limits: Limits | None = None) -> None:
        self.machine = Machine(limits or Limits(), Random(0))
        self.facts: list[Fact] = [EpochTaken(1, "writer", 0.0)]
        self.machine.apply(self.facts[0])
        self.machine.take_over(1, 0.0, 0.0)
        self.sequence = 0
        spec = call_spec("s0", Session(retries=0), versions=NO_VERSIONS)
        stages = (StagePlan(0, Calls(), Result()),)
        self.step(
            Submitted(job_id="s0", request_id="r", spec=spec, stages=stages, claim_generation="")
        )
        self.step(CallsSent("s0", 0, (CallPlan("0" * 64),) * calls))

    def step(self, event: Event) -> None:
        """Step an event at once."""
        self.facts += self.machine.step(event, 0.0).facts
        self.machine.check()

    @property
    def held(self) -> list[AttemptId]:
        """Return what the worker holds."""
        worker = self.machine.cluster.workers.get("w0")
        return sorted(worker.held) if worker is not None else []

    def report(self, results: dict[AttemptId, TaskResult]) -> None:
        """Let the worker report these results, and all else as running."""
        self.sequence += 1
        held = tuple(
            HeldAttempt(attempt, AttemptState.FINISHED, result=results[attempt])
            if attempt in results
            else HeldAttempt(attempt, AttemptState.RUNNING)
            for attempt in self.held
        )
        self.step(Synced("w0", 1, self.sequence, 1, slots=2, held=held, park=False))


def test_a_session_shows_what_failed_was_cancelled_and_waits() -> None:
    desk = Desk(3)
    needs = (TaskId("s0", 0, 1),)
    desk.step(CallsSent("s0", 3, (CallPlan("0" * 64, needs=needs),)))
    desk.report({})
    first, second = desk.held
    no = TaskFailure(kind=FailureKind.USER, message="ValueError: no", exception=b"E" * 100)
    desk.report({first: no})
    desk.step(CallsUnwanted("s0", (2,)))
    view = views.job_view(desk.machine.cluster, "s0")
    assert view is not None
    (stage,) = view.stages
    assert (stage.name, stage.tasks, stage.completed, stage.in_progress) == ("call", 4, 2, 1)
    assert view.state is JobState.RUNNING
    assert view.note == "calls: 1 failed, 1 cancelled, 1 waiting for the values of others"
    (recent,) = desk.machine.cluster.durable.jobs["s0"].recent_failures
    assert recent.failure.exception == b"", "only the client reads it"
    desk.report({second: TaskOutput(result=b"v")})
    assert [a.task.index for a in desk.held] == [3]


def test_released_calls_cost_a_place_in_two_lists() -> None:
    desk = Desk(500)
    while desk.machine.cluster.durable.jobs["s0"].calls.plans:  # type: ignore[union-attr]
        desk.report({a: TaskOutput(result=b"value") for a in desk.held})
    record, live = desk.machine.cluster.durable.jobs["s0"], desk.machine.cluster.jobs["s0"]
    assert record.calls is not None
    assert record.calls.kept_bytes > 500 * 1_000
    desk.step(CallsDone("s0", tuple(range(500))))
    assert record.calls.kept_bytes == 0
    assert {id(task) for task in record.stages[0].tasks} == {id(NO_TASK)}
    assert len({id(task) for task in live.stages[0].tasks}) == 1
    assert not any((record.calls.ended, record.calls.plans, record.calls.needed))


def _restored(durable: Durable) -> tuple[Durable, int]:
    """Return a state as a snapshot has it, and the bytes of that."""
    storage, content = MemoryStorage(), encode_snapshot(1, durable)
    storage.put(object_names.snapshot_uri("mem://state", 1), content)
    snapshot = Snapshots(storage, "mem://state").newest()
    assert snapshot is not None
    return snapshot.durable, len(content)


def test_released_calls_cost_no_more_after_a_restart() -> None:
    desk = Desk(200)
    needs = (TaskId("s0", 0, 0),)
    desk.step(CallsSent("s0", 200, (CallPlan("0" * 64, needs=needs), CallPlan("0" * 64))))
    while 0 in desk.machine.cluster.durable.jobs["s0"].calls.plans:  # type: ignore[union-attr]
        desk.report({a: TaskOutput(result=b"value") for a in desk.held})
    ended = list(desk.machine.cluster.durable.jobs["s0"].calls.ended)  # type: ignore[union-attr]
    desk.step(CallsDone("s0", (0,)))
    desk.step(CallsUnwanted("s0", tuple(range(len(ended), 198))))
    desk.step(CallsDone("s0", tuple(range(len(ended), 190))))
    durable = desk.machine.cluster.durable
    restored, stored = _restored(durable)
    assert restored == durable
    assert sum(task is NO_TASK for task in restored.jobs["s0"].stages[0].tasks) > 190
    assert restored.jobs["s0"].stages[0].tasks[0].output is not None, "a call takes it"

    restored.jobs["s0"].calls.added += 1_000  # type: ignore[union-attr]
    after, stored_then = _restored(restored)
    assert stored_then < stored + 10, "calls that are over take no room"
    assert len(after.jobs["s0"].stages[0].tasks) == 1_202

    machine = Machine(Limits(), Random(0))
    machine.restore(_restored(durable)[0])
    machine.apply(EpochTaken(2, "other", 0.0))
    machine.take_over(2, 0.0, 0.0)
    machine.check()
    live = machine.cluster.jobs["s0"].stages[0].tasks
    assert sum(task is NO_LIVE_TASK for task in live) > 190


@pytest.mark.parametrize(
    ("added", "tasks"), [(-1, 1), (0, 1), (3, 2), (1 << 60, 1)], ids=["-1", "0", "3", "endless"]
)
def test_a_snapshot_whose_session_does_not_fit_is_damaged(added: int, tasks: int) -> None:
    desk = Desk(1)
    session = desk.machine.cluster.durable.jobs["s0"]
    assert session.calls is not None
    session.calls.added = added
    session.stages[0].tasks *= tasks
    with pytest.raises(ValueError, match="session s0 has"):
        unpack(session)


def test_a_snapshot_whose_session_has_a_call_below_zero_is_damaged() -> None:
    session = Desk(1).machine.cluster.durable.jobs["s0"]
    assert session.calls is not None
    session.calls.plans = {-1: session.calls.plans[0]}
    with pytest.raises(ValueError, match="session s0 has"):
        unpack(session)


def test_calls_of_one_message_are_one_fact() -> None:
    desk = Desk(1_000)
    (added,) = (fact for fact in desk.facts if isinstance(fact, CallsAdded))
    assert len(added.calls) == 1_000


def test_what_is_said_of_a_lost_argument_has_a_bound() -> None:
    desk = Desk(1)
    for index in range(1, 60):
        needs = (TaskId("s0", 0, index - 1),)
        desk.step(CallsSent("s0", index, (CallPlan("0" * 64, needs=needs),)))
    desk.report({})
    (attempt,) = desk.held
    no = TaskFailure(kind=FailureKind.USER, message="ValueError: no", exception=b"E" * 10_000)
    desk.report({attempt: no})
    failed = [fact for fact in desk.facts if isinstance(fact, CallFailed)]
    assert len(failed) == 60
    assert max(len(fact.failure.message) for fact in failed) <= 1_000
    assert [len(fact.failure.exception) for fact in failed] == [10_000] + [0] * 59


def test_calls_that_have_begun_are_listed_up_to_a_bound() -> None:
    desk = Desk(2, Limits(calls_started_max=1))
    desk.report({})
    desk.report({})
    assert desk.machine.calls.take_started("s0") == [0]
    desk.report({a: TaskOutput(result=b"value") for a in desk.held})
    assert desk.machine.calls.take_started("s0") == [], "they are listed once"


def test_results_take_little_memory_once_half_of_it_is_taken() -> None:
    """They come whatever there is room for: their calls have been added."""

    desk = Desk(6, Limits(session_bytes_max=120_000))
    desk.report({})
    printed, raised = b"p" * 16_000, b"E" * 30_000
    full = TaskFailure(
        kind=FailureKind.USER,
        message="ValueError: no",
        traceback="t" * 9_000,
        exception=raised,
        printed=printed,
    )
    calls = desk.machine.cluster.durable.jobs["s0"].calls
    assert calls is not None
    seen = []
    for result in (full, TaskOutput(result=b"v", printed=printed), full):
        seen.append(is_short(desk.machine.cluster, calls))
        desk.report({desk.held[0]: result})
    assert seen == [False, True, True]
    first, won, cut = [fact for fact in desk.facts if isinstance(fact, CallFailed | TaskWon)]
    assert isinstance(first, CallFailed)
    assert first.failure == full
    assert isinstance(won, TaskWon)
    assert won.output == TaskOutput(result=b"v", printed=printed[-1_024:])
    assert isinstance(cut, CallFailed)
    assert (cut.failure.message, len(cut.failure.traceback)) == (full.message, 1_024)
    assert (cut.failure.exception, len(cut.failure.printed)) == (b"", 1_024)
    desk.report({})
    desk.step(CallsDone("s0", tuple(calls.ended)))
    assert not is_short(desk.machine.cluster, calls)
