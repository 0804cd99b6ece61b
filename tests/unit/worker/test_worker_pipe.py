"""Orders, reports and the board, between two ends in one process."""

from __future__ import annotations

import mmap
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcore.errors import DataError
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.skipping import item_mark, key_mark
from mrcore.model.task import (
    FailureKind,
    Mark,
    Piece,
    Progress,
    RunInput,
    RunSlice,
    Skip,
    Split,
    TaskFailure,
    TaskOutput,
    TaskWork,
)
from mrcore.plugin.running import CALL, note_in, running
from mrcore.tasks.child.board import Board
from mrcore.tasks.child.protocol import (
    MAX_INLINE_BYTES,
    Finished,
    Order,
    ReportReader,
    order_sockets,
    pack_order,
    pack_report,
    unpack_order,
)


def order(n: int, pieces: int = 1) -> Order:
    """Return an order with a number of pieces."""
    piece = Piece("file:///a", "a", 0, 9, 9, "g")
    attempt = AttemptId(TaskId("job", 0, n), AttemptNumber(1, n))
    return Order(
        attempt, TaskWork(Split((piece,) * pieces), 4), 3, 1 << 20, True, (Skip(Mark("u", 5)),)
    )


def test_orders_survive_the_journey(tmp_path: Path) -> None:
    reduce = Order(
        AttemptId(TaskId("job", 1, 1), AttemptNumber(2, 3)),
        TaskWork(RunInput((RunSlice(0, 0, "file:///r", "g", 10, 20),))),
    )
    for sent in (order(1), order(2, pieces=5_000), reduce):
        message = pack_order(sent, tmp_path)
        assert len(message) <= MAX_INLINE_BYTES + 1
        assert unpack_order(message) == sent
    assert list(tmp_path.iterdir()) == [], "the file of a long order is gone once it is read"


def test_an_order_goes_to_one_reader_only(tmp_path: Path) -> None:
    agent, child = order_sockets()
    with agent, child:
        for n in range(100):
            agent.send(pack_order(order(n), tmp_path))
        taken: dict[str, list[int]] = {"child": [], "agent": []}

        def take(who: str) -> None:
            while True:
                try:
                    message = child.recv(MAX_INLINE_BYTES * 2, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    return
                taken[who].append(unpack_order(message).attempt.task.index)

        threads = [threading.Thread(target=take, args=(who,)) for who in taken]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(taken["child"] + taken["agent"]) == list(range(100))
    assert all(found == sorted(found) for found in taken.values()), "in order"


RESULTS: list[TaskOutput | TaskFailure] = [
    TaskOutput(records_in=5, counters={"a": -3}),
    TaskFailure(kind=FailureKind.USER, message="no", traceback="t\n" * 5_000),
]


# The choice is drawn and not the results, of which hypothesis would print tens of KB.
@given(st.lists(st.sampled_from(range(len(RESULTS))), max_size=6), st.integers(1, 40_000))
def test_reports_are_cut_out_of_any_chunks(choices: list[int], size: int) -> None:
    reports = [Finished(order(n).attempt, RESULTS[one]) for n, one in enumerate(choices)]
    stream = b"".join(pack_report(report) for report in reports)
    reader = ReportReader()
    found: list[Finished] = []
    for start in range(0, len(stream), size):
        found.extend(reader.feed(stream[start : start + size]))
    assert found == reports


@pytest.mark.parametrize("nonsense", [b"\xff\xff\xff\xff", b"\x04\0\0\0none", b"hello, world"])
def test_what_is_no_report_is_refused(nonsense: bytes) -> None:
    with pytest.raises(DataError):
        list(ReportReader().feed(nonsense))


def test_a_report_that_is_too_long_fails_its_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrcore.tasks.child.protocol.MAX_REPORT_BYTES", 500)
    counters = {f"name {n}": n for n in range(100)}
    sent = Finished(order(1).attempt, TaskOutput(counters=counters))
    (report,) = ReportReader().feed(pack_report(sent))
    assert report.attempt == sent.attempt
    assert isinstance(report.result, TaskFailure)
    assert "and at most 500 can be reported: count under fewer names" in report.result.message


def boards() -> tuple[Board, Board]:
    """Return the agent's and the child's view of one board."""
    reader, descriptor = Board.create()
    writer = Board(descriptor)
    os.close(descriptor)
    return reader, writer


def test_a_board_shows_what_was_written_last() -> None:
    reader, writer = boards()
    assert reader.read().begun == 0
    assert reader.read().mark is None
    writer.begin(12.5)
    writer.status("näh\udc80")
    writer.update(0.25, 10, 999)
    writer.mark("file:///ä", 7)
    writer.mark("file:///ä", 8)
    view = reader.read()
    assert (view.begun, view.started_at) == (1, 12.5)
    assert view.progress == Progress(0.25, 10, 999, "näh?")
    assert (view.function, view.mark) == ("", None), "the user's map does not run"
    writer.note_functions()
    with running("map"):
        assert reader.read().mark == Mark("file:///ä", 8)
        with running("combine"):
            view = reader.read()
            assert (view.function, view.mark) == ("combine", None)
            of_combine = key_mark("'k'", 5, "combine")
            writer.mark_key(of_combine)
            assert reader.read().mark == of_combine
            before = reader.read().visit
            writer.mark_key(of_combine)
            assert reader.read().visit == before + 1, "another call with the same key"
            with running("reduce"):
                assert reader.read().mark is None, "each function has a place of its own"
                writer.mark_key(key_mark("'k'", 6))
                assert reader.read().mark == key_mark("'k'", 6)
            assert reader.read().mark == of_combine
            writer.leave_keys("combine")
            assert reader.read().mark is None
        assert reader.read().mark == Mark("file:///ä", 8), "map goes on where it was"
    assert reader.read().mark is None
    writer.begin(13.5)
    view = reader.read()
    assert (view.begun, view.started_at, view.progress) == (2, 13.5, Progress())
    assert view.mark is None
    note_in(bytearray(1), 0)


def test_long_texts_are_cut() -> None:
    reader, writer = boards()
    writer.begin(0.0)
    writer.status("s" * 5_000)
    writer.mark("u" * 9_000, 1)
    writer.note_functions()
    with running("map"):
        view = reader.read()
    note_in(bytearray(1), 0)
    assert view.progress.status == "s" * 1_024
    assert view.mark == Mark("u" * 4_096, 1)


def test_what_is_read_belongs_together() -> None:
    reader, writer = boards()
    writer.begin(0.0)
    stop = threading.Event()

    def write() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            writer.update(float(n), n, n)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(2_000):
            progress = reader.read().progress
            assert progress.fraction == progress.records == progress.bytes
    finally:
        stop.set()
        thread.join()


class Between:
    """A struct of the board, that lets something happen when it is read for the n-th time."""

    def __init__(self, struct: struct.Struct, nth: int, happen: Callable[[], None]) -> None:
        self._struct = struct
        self._left = nth
        self._happen = happen

    def unpack_from(self, page: mmap.mmap, offset: int) -> tuple[Any, ...]:
        """Read; at the n-th time something happens right after it."""
        found = self._struct.unpack_from(page, offset)
        self._left -= 1
        if not self._left:
            self._happen()
        return found


def test_the_clock_of_a_call_starts_anew_with_each_item() -> None:
    reader, writer = boards()
    writer.begin(10.0)
    writer.begin_item(25.0, 1, 4)
    view = reader.read()
    assert (view.begun, view.started_at) == (1, 25.0)
    assert (view.progress.fraction, view.progress.records) == (0.25, 1)
    assert view.mark is None
    writer.note_functions()
    with running(CALL):
        assert reader.read().mark == item_mark(1)
        writer.end_items()
        assert reader.read().mark is None
    note_in(bytearray(1), 0)


def test_a_board_that_is_written_meanwhile_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = boards()
    writer.begin(1.0)
    writer.status("old")
    between = Between(Board._STATE, 1, lambda: writer.status("new and longer"))
    monkeypatch.setattr(reader, "_STATE", between)
    assert reader.read().progress.status == "new and longer", "and not its first three letters"


def test_a_board_in_the_middle_of_a_write_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = boards()
    writer.begin(1.0)
    page, version = writer._page, writer._version
    Board._VERSION.pack_into(page, 0, version + 1)
    Board._STATE.pack_into(page, Board._STATE_AT, 1, 1.0, 0.5, 0, 0, 0)

    def finish() -> None:
        Board._STATE.pack_into(page, Board._STATE_AT, 1, 1.0, 0.5, 5, 0, 0)
        Board._VERSION.pack_into(page, 0, version + 2)

    monkeypatch.setattr(reader, "_VERSION", Between(Board._VERSION, 2, finish))
    assert reader.read().progress == Progress(0.5, 5, 0)
