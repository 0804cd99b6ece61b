"""The worker's machine: lists of events in, lists of commands out."""

from __future__ import annotations

import pytest

from mrcore.model.attempts import Assignment, AttemptState
from mrcore.model.task import FailureKind, TaskFailure
from mrcore.worker.core.commands import (
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
    HandedBack,
    NonceRead,
    Withdrawn,
)
from mrcore.worker.core.limits import DEFAULT, Limits
from mrcore.worker.core.machine import Machine
from tests.support.worker_driver import DONE, SPEC, Driver, assignment, attempt


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
