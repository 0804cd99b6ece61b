"""The worker's machine: lists of events in, lists of commands out."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mrcore.model.attempts import Assignment, AttemptState
from mrcore.model.ids import AttemptId, AttemptNumber, Phase, TaskId
from mrcore.model.job import Input, JobSpec, Plugin, Versions
from mrcore.model.task import FailureKind, MapWork, Split, TaskFailure, TaskOutput
from mrcore.worker.core.commands import (
    Command,
    Enqueue,
    ForgetJob,
    KeepJob,
    Kill,
    Leave,
    ReadNonce,
    Warn,
    Withdraw,
)
from mrcore.worker.core.events import (
    Answered,
    Begun,
    DrainBegun,
    Ended,
    Event,
    HandedBack,
    NonceRead,
    Withdrawn,
)
from mrcore.worker.core.limits import DEFAULT, Limits
from mrcore.worker.core.machine import Machine

WORK = MapWork(Split(()), 1)
SPEC = JobSpec(
    name="j",
    plugin=Plugin("", "j", has_reduce=True),
    inputs=(Input("", "", ""),),
    output_uri="file:///out",
    versions=Versions("", "", "", ""),
)
DONE = TaskOutput(records_out=1)


def attempt(n: int, job: str = "j", epoch: int = 1) -> AttemptId:
    """Return attempt `n`, at a task of its own."""
    return AttemptId(TaskId(job, Phase.MAP, n), AttemptNumber(epoch, n))


def assignment(n: int, job: str = "j") -> Assignment:
    """Return an assignment of attempt `n`, with its work."""
    return Assignment(attempt(n, job), 7, WORK)


class Driver:
    """A machine in a cluster that it knows, and the master's side of the talk."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self.machine = Machine(session=5, limits=limits)
        self.machine.state()
        self.answer(jobs={"j": SPEC})

    def answer(
        self,
        *wanted: Assignment,
        cluster_id: str = "c",
        epoch: int = 3,
        sequence: int | None = None,
        jobs: dict[str, JobSpec] | None = None,
        drain: bool = False,
        leave: bool = False,
    ) -> list[Command]:
        """Answer the latest request (or another)."""
        return self.step(
            Answered(
                cluster_id=cluster_id,
                epoch=epoch,
                sequence=self.machine.sequence if sequence is None else sequence,
                wanted=wanted,
                jobs=jobs or {},
                drain=drain,
                leave=leave,
                state_uri="file:///state",
            )
        )

    def step(self, event: Event) -> list[Command]:
        """Step, and check."""
        commands = self.machine.step(event)
        self.machine.check()
        return commands

    def told(self) -> dict[AttemptId, AttemptState]:
        """Make the next request; return what it says of attempts."""
        return {held.attempt: held.state for held in self.machine.state().held}


def test_the_first_answer_says_where_to_look() -> None:
    machine = Machine(session=5)
    first = machine.state()
    assert (first.cluster_id, first.session, first.sequence, first.epoch) == ("", 5, 1, 0)
    answer = Answered(cluster_id="c", epoch=3, sequence=1, state_uri="file:///s")
    assert machine.step(answer) == [ReadNonce("file:///s")]
    machine.step(NonceRead("nonce"))
    assert machine.has_news()
    second = machine.state()
    assert (second.cluster_id, second.sequence, second.epoch) == ("c", 2, 3)
    assert second.store_nonce == "nonce"
    assert not machine.has_news()


def test_an_attempt_from_assignment_to_oblivion() -> None:
    driver = Driver()
    assert driver.answer(assignment(1)) == [Enqueue(assignment(1))]
    assert driver.told() == {attempt(1): AttemptState.UNSTARTED}
    assert driver.answer(Assignment(attempt(1), 7)) == []
    driver.step(Begun(attempt(1)))
    assert not driver.machine.has_news(), "that it runs can wait for the next request"
    assert driver.told() == {attempt(1): AttemptState.RUNNING}
    driver.answer(Assignment(attempt(1), 7))
    driver.step(Ended(attempt(1), DONE))
    assert driver.machine.has_news()
    assert driver.told() == {attempt(1): AttemptState.FINISHED}
    assert not driver.machine.has_news()
    driver.answer(Assignment(attempt(1), 7))
    (held,) = driver.machine.state().held
    assert (held.state, held.result, held.inputs_version) == (AttemptState.FINISHED, DONE, 7)
    assert driver.answer() == []
    assert driver.machine.held() == 0


def test_the_job_is_kept_before_its_attempt_is_enqueued() -> None:
    driver = Driver()
    driver.told()
    commands = driver.answer(assignment(1, "k"), jobs={"k": SPEC})
    assert commands == [KeepJob("k", SPEC, "file:///state"), Enqueue(assignment(1, "k"))]
    assert driver.machine.state().known_jobs == ("j", "k")


def test_an_attempt_of_an_unknown_job_or_without_work_is_left_to_the_master() -> None:
    driver = Driver()
    driver.told()
    assert driver.answer(assignment(1, "k"), Assignment(attempt(2))) == []
    assert driver.told() == {}


def test_what_is_omitted_is_stopped() -> None:
    driver = Driver()
    driver.answer(assignment(1), assignment(2))
    driver.step(Begun(attempt(1)))
    driver.told()
    assert driver.answer() == [Kill(attempt(1)), Withdraw(attempt(2))]
    driver.step(Withdrawn(attempt(2)))
    assert driver.told() == {}


def test_an_answer_speaks_only_of_what_its_request_said() -> None:
    driver = Driver()
    driver.answer(assignment(1), assignment(2), assignment(3))
    driver.step(Begun(attempt(2)))
    driver.told()
    driver.step(Begun(attempt(1)))
    driver.step(Ended(attempt(2), DONE))
    driver.step(Begun(attempt(3)))
    driver.step(Ended(attempt(3), DONE))
    assert driver.answer() == [], "all of it has changed since"
    assert driver.told() == {
        attempt(1): AttemptState.RUNNING,
        attempt(2): AttemptState.FINISHED,
        attempt(3): AttemptState.FINISHED,
    }
    assert driver.answer() == [Kill(attempt(1))]
    assert driver.told() == {}


def test_one_that_began_while_it_was_withdrawn_is_reported_as_running() -> None:
    driver = Driver()
    driver.answer(assignment(1))
    driver.told()
    assert driver.answer() == [Withdraw(attempt(1))]
    driver.step(Begun(attempt(1)))
    assert driver.told() == {attempt(1): AttemptState.RUNNING}


@pytest.mark.parametrize(("epoch", "sequence"), [(2, None), (3, 1)])
def test_answers_that_are_not_the_latest_change_nothing(epoch: int, sequence: int | None) -> None:
    driver = Driver()
    driver.answer(assignment(1))
    driver.told()
    assert driver.answer(assignment(2), epoch=epoch, sequence=sequence) == []
    assert driver.told() == {attempt(1): AttemptState.UNSTARTED}
    assert driver.machine.epoch == 3


def test_a_higher_epoch_is_followed() -> None:
    driver = Driver()
    driver.told()
    driver.answer(epoch=9)
    assert driver.machine.state().epoch == 9


def test_another_cluster_empties_the_worker() -> None:
    driver = Driver()
    driver.answer(assignment(1), assignment(2), assignment(3))
    driver.step(Begun(attempt(1)))
    driver.step(Ended(attempt(2), DONE))
    driver.step(NonceRead("old"))
    driver.told()
    commands = driver.answer(cluster_id="other", epoch=1)
    assert commands == [
        Kill(attempt(1)),
        Kill(attempt(3)),
        ForgetJob("j"),
        ReadNonce("file:///state"),
    ]
    state = driver.machine.state()
    assert (state.cluster_id, state.epoch, state.held, state.known_jobs) == ("other", 1, (), ())
    assert state.store_nonce == ""


def test_a_nonce_is_of_one_cluster_even_before_the_next_one_has_named_its_store() -> None:
    driver = Driver()
    driver.step(NonceRead("old"))
    driver.told()
    driver.step(Answered(cluster_id="other", epoch=1, sequence=driver.machine.sequence))
    assert driver.machine.state().store_nonce == ""


def test_a_superseded_process_leaves_and_a_new_one_takes_a_higher_session() -> None:
    old = Driver()
    (leave,) = old.step(Answered(cluster_id="", epoch=0, sequence=0, exceed_session=8))
    assert isinstance(leave, Leave)
    assert leave.code == 1
    fresh = Machine(session=5)
    fresh.state()
    assert fresh.step(Answered(cluster_id="", epoch=0, sequence=0, exceed_session=8)) == []
    assert fresh.state().session == 9


def test_draining_hands_back_what_has_not_begun() -> None:
    driver = Driver()
    driver.answer(assignment(1), assignment(2))
    driver.step(Begun(attempt(1)))
    assert driver.step(DrainBegun("SIGTERM")) == [Kill(attempt(2))]
    assert driver.machine.has_news()
    state = driver.machine.state()
    assert state.draining
    results = {held.attempt: held.result for held in state.held}
    assert results[attempt(1)] is None
    handed_back = results[attempt(2)]
    assert isinstance(handed_back, TaskFailure)
    assert handed_back.kind is FailureKind.PREEMPTED
    assert "SIGTERM" in handed_back.message
    assert driver.answer(Assignment(attempt(1)), assignment(3), leave=True) == []
    driver.step(Ended(attempt(1), DONE))
    driver.told()
    assert driver.answer(leave=True) == [Leave(0, "drained")]


def test_the_master_may_ask_to_drain() -> None:
    driver = Driver()
    driver.answer(assignment(1))
    driver.told()
    assert driver.answer(Assignment(attempt(1)), drain=True) == [Kill(attempt(1))]
    assert driver.machine.draining


def test_what_cannot_finish_is_handed_back() -> None:
    driver = Driver()
    driver.answer(assignment(1), assignment(2))
    driver.step(Begun(attempt(1)))
    driver.step(Begun(attempt(2)))
    assert driver.step(HandedBack(frozenset({attempt(1)}), "preempted")) == [Kill(attempt(1))]
    assert driver.told() == {attempt(1): AttemptState.FINISHED, attempt(2): AttemptState.RUNNING}
    assert driver.step(Ended(attempt(1), DONE)) == [], "its result comes too late"
    result = {held.attempt: held.result for held in driver.machine.state().held}[attempt(1)]
    assert isinstance(result, TaskFailure)


def test_an_omitted_attempt_is_handed_back_if_the_worker_drains() -> None:
    driver = Driver()
    driver.answer(assignment(1))
    driver.told()
    assert driver.answer(drain=True) == [Withdraw(attempt(1)), Kill(attempt(1))]
    driver.step(Withdrawn(attempt(1)))
    assert driver.told() == {attempt(1): AttemptState.FINISHED}


def test_what_has_ended_is_not_handed_back() -> None:
    driver = Driver()
    driver.answer(assignment(1), assignment(2))
    driver.step(Ended(attempt(1), DONE))
    late = HandedBack(frozenset({attempt(1), attempt(2)}), "preempted")
    assert driver.step(late) == [Kill(attempt(2))]
    assert driver.step(late) == [], "the next look finds it late again"
    results = {held.attempt: held.result for held in driver.machine.state().held}
    assert results[attempt(1)] == DONE
    assert isinstance(results[attempt(2)], TaskFailure)


def test_jobs_are_forgotten_the_oldest_first() -> None:
    driver = Driver()
    driver.answer(assignment(1))
    for number in range(DEFAULT.known_jobs_max - 1):
        driver.told()
        assert ForgetJob("j") not in driver.answer(
            Assignment(attempt(1)), jobs={f"k{number}": SPEC}
        )
    driver.told()
    commands = driver.answer(Assignment(attempt(1)), jobs={"last": SPEC})
    assert commands == [KeepJob("last", SPEC, "file:///state"), ForgetJob("k0")]


def test_what_is_beyond_the_limit_is_left_to_others_and_taken_later() -> None:
    driver = Driver(Limits(held_max=2))
    wanted = [assignment(n) for n in range(4)]
    assert driver.answer(*wanted) == [
        Enqueue(wanted[0]),
        Enqueue(wanted[1]),
        Warn(
            "the master wants 2 attempts more than the 2 that a worker may hold: they are left to "
            "others until some have ended"
        ),
    ]
    assert set(driver.told()) == {attempt(0), attempt(1)}
    assert driver.answer(*wanted) == [], "said once"
    driver.step(Ended(attempt(0), DONE))
    driver.told()
    assert driver.answer(*wanted[1:]) == [Enqueue(wanted[2])], "3 is wanted, and still has no room"
    driver.told()
    assert driver.answer(*wanted[1:3]) == []
    driver.told()
    assert [type(command) for command in driver.answer(*wanted[1:])] == [Warn], "said anew"


class WorkerRules(RuleBasedStateMachine):
    """Any order of events, with a master that wants anything and whose answers come late."""

    @initialize()
    def begin(self) -> None:
        self.machine = Machine(session=1, limits=Limits(held_max=9))
        self.given: set[AttemptId] = set()
        self.gone: set[AttemptId] = set()
        self.said: list[dict[AttemptId, AttemptState]] = []
        self.request()

    def held(self) -> dict[AttemptId, AttemptState]:
        return {attempt: held.state for attempt, held in self.machine._held.items()}

    @rule()
    def request(self) -> None:
        state = self.machine.state()
        self.said.append({held.attempt: held.state for held in state.held})
        assert state.sequence == len(self.said)
        assert self.said[-1] == self.held(), "a request tells everything"
        assert not self.machine.has_news()

    @rule(wanted=st.lists(st.integers(0, 12), unique=True), back=st.sampled_from([0, 0, 0, 1]))
    def answer(self, wanted: list[int], back: int) -> None:
        sequence = max(1, len(self.said) - back)
        before, said = self.held(), self.said[sequence - 1]
        # The master never uses the number of an attempt again.
        fresh = tuple(assignment(n) for n in wanted if attempt(n) not in self.gone)
        commands = self.machine.step(
            Answered(cluster_id="c", epoch=1, sequence=sequence, wanted=fresh, jobs={"j": SPEC})
        )
        if sequence < len(self.said):
            assert commands == []
            assert self.held() == before
            return
        for command in commands:
            self.obey(command, said, before)
        for lost in before.keys() - self.held().keys():
            assert lost not in {one.attempt for one in fresh}, "what is wanted is kept"
            assert said.get(lost) is before[lost], "nothing goes unheard"
            self.gone.add(lost)

    def obey(
        self,
        command: Command,
        said: dict[AttemptId, AttemptState],
        before: dict[AttemptId, AttemptState],
    ) -> None:
        match command:
            case Enqueue(given):
                assert given.attempt not in self.given
                assert not self.machine.draining
                self.given.add(given.attempt)
            case Kill(killed):
                assert said[killed] is before[killed] is AttemptState.RUNNING
            case Withdraw(back):
                assert said[back] is before[back] is AttemptState.UNSTARTED
                self.machine.step(Withdrawn(back))
            case _:
                assert isinstance(command, KeepJob | ReadNonce | Warn)

    @rule(n=st.integers(0, 12), event=st.sampled_from([Begun, Begun, Ended]))
    def happen(self, n: int, event: type[Begun] | type[Ended]) -> None:
        before = self.held().get(attempt(n))
        self.machine.step(Ended(attempt(n), DONE) if event is Ended else Begun(attempt(n)))
        if before in (AttemptState.UNSTARTED, AttemptState.RUNNING):
            expected = AttemptState.FINISHED if event is Ended else AttemptState.RUNNING
            assert self.held()[attempt(n)] is expected
        else:
            assert self.held().get(attempt(n)) is before

    @precondition(lambda self: len(self.said) > 10)
    @rule()
    def drain(self) -> None:
        self.machine.step(DrainBegun("test"))

    @invariant()
    def holds_together(self) -> None:
        if hasattr(self, "machine"):
            self.machine.check()


TestWorkerRules = WorkerRules.TestCase
TestWorkerRules.settings = settings(max_examples=60, stateful_step_count=40)
