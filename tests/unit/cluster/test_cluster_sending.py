"""The board and the thread that sends: what is released, cancelled and sent together."""

from __future__ import annotations

import operator
from concurrent import futures
from types import SimpleNamespace
from typing import Any

import pytest

from mrcore.calls import payload
from mrcore.cluster import calls as calls_module
from mrcore.cluster import mapping as mapping_module
from mrcore.cluster import sender as sender_module
from mrcore.cluster.attaching import attach
from mrcore.cluster.calls import Calls
from mrcore.cluster.gathering import gather_values
from mrcore.cluster.grouping import map_items
from mrcore.cluster.in_memory import mapreduce
from mrcore.cluster.options import CallOptions
from mrcore.cluster.scattered import Scattered
from mrcore.errors import KeyTypeError, NotFoundError, UnavailableError
from mrcore.model.job import JobState
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


def test_a_value_that_comes_after_its_call_was_cancelled_is_freed(desk: Desk) -> None:
    desk.house.hold = True
    future = desk.call(bytes, 100_000)
    wait_until(lambda: desk.house.waiting)
    with desk.calls.board.changed:  # so that the end arrives after the cancel
        desk.house.let_go()
        assert future.cancel()
    wait_until(lambda: desk.house.requests["release"] == 1)
    assert desk.house.live() == 0


def test_idle_sessions_are_closed_beyond_some_and_those_with_values_stay(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "IDLE_SESSIONS", 1)
    monkeypatch.setattr(calls_module, "SESSION_CALLS", 1)
    long = desk.call(bytes, 100_000)
    futures.wait([long], 10)
    for _ in range(3):
        assert desk.call(operator.neg, 1).result(10) == -1
    wait_until(lambda: desk.house.requests["close"] == 2)
    kept, *others = desk.house.sessions.values()
    assert not kept.closed
    assert [one.closed for one in others] == [True, True, False]
    assert len(long.result(10)) == 100_000
    for priority in (1, 2):
        options = CallOptions(priority=priority)
        assert desk.caller.call(operator.neg, (1,), {}, options).result(10) == -1
    wait_until(lambda: desk.house.requests["close"] == 4)
    assert not kept.closed


def test_a_map_keeps_a_bounded_number_of_items(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping_module, "ITEMS_KEPT", 10)
    items = iter(range(100))
    found = desk.map(operator.neg, items, chunksize=1)
    assert next(items) == 10
    assert sum(1 for _ in found) == 99


def test_a_scattered_value_is_kept_for_longer_when_a_call_takes_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls_module, "REFRESH_SECONDS", 0.0)
    value = payload.dump_value([1, 2])
    scattered = Scattered[list[int]](desk.calls.store_now(value), len(value), lambda _: [1, 2])
    before = desk.house.requests["put"]
    assert desk.call(len, scattered).result(10) == 2
    assert desk.house.requests["put"] == before + 2  # the function, and the value


def test_lists_in_memory_are_spread_over_parts_and_their_keys_checked_over_all(desk: Desk) -> None:
    groups = map_items(lambda items: [(item, 1) for item in items], 4, list(range(100)))
    assert groups is not None
    assert all(groups)
    client: Any = SimpleNamespace(
        call=desk.call, gather=lambda found: gather_values(found, "raise")
    )
    with pytest.raises(KeyTypeError, match="keys mix int and float"):
        mapreduce(client, [1, 2.5], lambda items: [(items[0], 1)], sum, 2)


def test_ctrl_c_in_gather_cancels_all() -> None:
    class Interrupted(futures.Future[int]):
        def result(self, timeout: float | None = None) -> int:
            raise KeyboardInterrupt

    some = [Interrupted(), Interrupted()]
    with pytest.raises(KeyboardInterrupt):
        gather_values(some, "raise")
    assert all(one.cancelled() for one in some)


def test_calls_that_another_client_frees_while_this_one_attaches_fail(desk: Desk) -> None:
    house = desk.house
    house.hold = True
    keep = CallOptions(keep=True)
    made = [desk.caller.call(operator.neg, (number,), {}, keep) for number in range(3)]
    session_id = made[0].job_id

    def tasks(_: str) -> list[Any]:
        listed = [SimpleNamespace(index=number) for number in range(3)]
        house.let_go()
        assert [one.result(10) for one in made] == [0, -1, -2]
        made[0].close()
        wait_until(lambda: house.live() == 2)
        return listed

    job = SimpleNamespace(stages=[SimpleNamespace(name="call")], state=JobState.RUNNING, message="")
    master: Any = SimpleNamespace(get=lambda _: job, tasks=tasks)
    other = Calls(house.client(), show=desk.shown.append)
    try:
        found = attach(other, master, session_id)
        assert [found[number].result(10) for number in (1, 2)] == [-1, -2]
        freed = rf"^The value of call-00000 of {session_id} was freed\. Call the function again\.$"
        with pytest.raises(NotFoundError, match=freed):
            found[0].result(10)
    finally:
        other.close()


def test_what_could_not_be_stored_is_stored_again_with_the_next_call(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(sha256: str, data: bytes) -> str:
        raise UnavailableError("The store does not answer.")

    with monkeypatch.context() as broken:
        broken.setattr(desk.calls._client, "put", refuses)
        assert desk.call(operator.neg, 1).exception(10) is not None
    assert desk.call(operator.neg, 1).result(10) == -1
