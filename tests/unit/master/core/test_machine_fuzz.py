"""No worker, however confused, breaks the machine: its invariants hold whatever is reported."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from mrcore.master.core.events import (
    CancelAsked,
    CommitFinished,
    CommitPrepared,
    CommitRefused,
    DrainAsked,
    Event,
    JobBroken,
    Planned,
    Stalled,
    Submitted,
    Synced,
    Ticked,
    WinnerMissing,
)
from mrcore.master.core.facts import EpochTaken
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.model.attempts import AttemptState, HeldAttempt
from mrcore.model.commit_plan import CommitPlan
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.task import FailureKind, Mark, TaskFailure, TaskOutput, TaskRef
from tests.support.specs import NO_VERSIONS, job_spec
from tests.support.stage_plans import two_stages

JOBS = st.sampled_from(["a", "b", "planning", "waiting", "unknown"])
ATTEMPTS = st.builds(
    AttemptId,
    st.builds(TaskId, JOBS, st.integers(-1, 2), st.integers(-1, 3)),
    st.builds(AttemptNumber, st.integers(0, 3), st.integers(0, 12)),
)
FAILURES = st.builds(
    TaskFailure,
    kind=st.sampled_from(FailureKind),
    message=st.sampled_from(["one", "two"]),
    lost_runs=st.lists(st.builds(TaskRef, st.integers(-1, 2), st.integers(-1, 3)), max_size=3).map(
        tuple
    ),
    died=st.booleans(),
    mark=st.none() | st.builds(Mark, st.just("file"), st.integers(0, 2)),
)
OUTPUTS = st.builds(TaskOutput, digest=st.sampled_from([b"x", b"y"]))
HELD = st.builds(
    HeldAttempt,
    attempt=ATTEMPTS,
    state=st.sampled_from(AttemptState),
    inputs_version=st.integers(0, 2),
    result=st.none() | OUTPUTS | FAILURES,
)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Synced,
        worker_id=st.sampled_from(["w1", "w2"]),
        session=st.integers(1, 2),
        sequence=st.integers(1, 60),
        epoch=st.integers(0, 3),
        slots=st.integers(0, 3),
        held=st.lists(HELD, max_size=5).map(tuple),
        draining=st.booleans(),
        sees_store=st.booleans(),
        park=st.booleans(),
    ),
    st.builds(CancelAsked, JOBS, st.just("")),
    st.builds(Planned, job_id=JOBS, stages=st.sampled_from([two_stages(1, 1), two_stages(0, 0)])),
    st.builds(JobBroken, JOBS, st.just("its plan is gone")),
    st.builds(DrainAsked, st.sampled_from(["w1", "unknown"])),
    st.builds(WinnerMissing, ATTEMPTS),
    st.builds(CommitPrepared, JOBS, st.just(CommitPlan())),
    st.builds(CommitFinished, JOBS),
    st.builds(CommitRefused, JOBS, st.just("no"), st.lists(ATTEMPTS, max_size=2).map(tuple)),
    st.builds(Stalled, st.floats(0, 5)),
    st.just(Ticked()),
)


def submitted(job_id: str, maps: int, reduces: int, *after: str) -> Submitted:
    """Return the event that submits a small job, or one that waits for others."""
    spec = job_spec(
        job_id, output_uri="mem://out", max_bad_records=1, after=after, versions=NO_VERSIONS
    )
    return Submitted(
        job_id=job_id,
        request_id=job_id,
        spec=spec,
        stages=() if after else two_stages(maps, reduces),
        claim_generation="1",
    )


@given(st.lists(st.tuples(st.floats(0, 8), EVENTS), max_size=40), st.integers(0, 2**16))
@settings(max_examples=150)
def test_invariants_hold_whatever_is_reported(events: list[tuple[float, Event]], seed: int) -> None:
    machine, replayed = Machine(Limits(), Random(seed)), Machine(Limits(), Random(seed))
    for each in (machine, replayed):
        each.apply(EpochTaken(2, "writer", 0.0))
    machine.take_over(2, 0.0, 0.0)
    now = 0.0
    begin: list[tuple[float, Event]] = [
        (0.0, submitted("a", 2, 2)),
        (0.0, submitted("b", 2, 0)),
        (0.0, submitted("done", 0, 0)),
        (0.0, CommitPrepared("done", CommitPlan())),
        (0.0, CommitFinished("done")),
        (0.0, submitted("planning", 0, 0, "done")),
        (0.0, submitted("waiting", 0, 0, "planning", "a")),
    ]
    for pause, event in [*begin, *events]:
        now += pause
        outcome = machine.step(event, now)
        machine.check()
        for fact in outcome.facts:
            replayed.apply(fact)
    assert replayed.cluster.durable == machine.cluster.durable
