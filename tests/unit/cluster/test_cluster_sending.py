"""The board and the thread that sends: what is released, cancelled and sent together."""

from __future__ import annotations

import operator
from concurrent import futures

from mrcore.cluster.options import CallOptions
from mrcore.model.task import MAX_PRINTED_BYTES
from tests.support.call_house import Desk
from tests.support.waiting import wait_until


def test_a_value_is_released_once_the_last_call_that_takes_it_was_sent(desk: Desk) -> None:
    long = desk.call(bytes, 100_000)
    futures.wait([long], 10)
    board, pending = desk.calls.board, long.pending
    assert pending is not None
    assert board.take(pending)
    assert board.take(pending)
    long.close()
    assert not board.released
    board.untake(pending)
    assert not board.released
    with board.changed:
        board.untake(pending)
        assert list(board.released) == [(pending.session, 0)]
        board.changed.notify_all()
    wait_until(lambda: desk.house.live() == 0)


def test_a_call_that_is_cancelled_while_the_master_does_not_take_it_is_cancelled_there(
    desk: Desk,
) -> None:
    desk.house.limited = 1_000_000
    future = desk.call(operator.neg, 1)
    wait_until(lambda: desk.house.requests["add"] >= 2)
    assert future.cancel()
    wait_until(lambda: desk.house.requests["cancel"] >= 1)
    with desk.house.changed:
        desk.house.hold = True
        desk.house.limited = 0
    wait_until(lambda: desk.house.requests["cancel"] >= 2)
    assert not desk.house.waiting


def test_calls_of_different_options_are_calls_of_different_sessions(desk: Desk) -> None:
    with desk.calls.board.changed:  # so that all are sent together
        calls = [
            desk.caller.call(operator.neg, (number,), {}, CallOptions(priority=number % 2))
            for number in range(6)
        ]
    assert [call.result(10) for call in calls] == [-number for number in range(6)]
    assert [kept.calls for kept in desk.house.sessions.values()] == [3, 3]


def test_what_is_missing_of_a_long_print_is_said(desk: Desk) -> None:
    desk.house.printed = b"x" * (MAX_PRINTED_BYTES - 1)
    call = desk.call(operator.neg, 1)
    assert call.result(10) == -1
    assert desk.shown == [desk.house.printed]
    desk.house.printed = b"y" * MAX_PRINTED_BYTES
    call = desk.call(operator.neg, 1)
    assert call.result(10) == -1
    said, printed = desk.shown[1:]
    assert said.decode() == (
        "mrcore: call-00001 printed more than 16 KiB, and this is the end of it. Print all by: "
        f"mrcore logs {call.job_id} --task call-00001\n"
    )
    assert printed == desk.house.printed
