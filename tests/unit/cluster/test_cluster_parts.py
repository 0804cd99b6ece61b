"""Parts of the front end that need no cluster: options, pace, progress, status and tables."""

from __future__ import annotations

import io
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mrcore.client.request import Functions, JobRequest
from mrcore.cluster import grouping, progress
from mrcore.cluster.grouping import map_items, reduce_part
from mrcore.cluster.mapping import MAX_CHUNK, Pacer
from mrcore.cluster.options import call_options, check_arguments
from mrcore.cluster.status import status_of
from mrcore.cluster.tables import Table
from mrcore.engine.inline import run_inline
from mrcore.engine.items import pickled_items
from mrcore.errors import KeyTypeError, UsageError
from mrcore.model.formats import PICKLE
from mrcore.model.job import JobState, Resources
from mrcore.model.snapshots import JobView, StageView, WorkerView
from mrcore.records.frames import pairs_of_results
from tests.support.call_house import Desk
from tests.support.fake_clock import FakeClock
from tests.support.waiting import wait_until


def test_options_of_calls() -> None:
    options = call_options(
        retries=2,
        timeout="1m",
        resources={"cpu": 2, "memory": "4GiB", "labels": {"b", "a"}},
        priority=3,
    )
    assert options.timeout_seconds == 60.0
    assert options.resources == Resources(cpus=2.0, memory_bytes=4 << 30, labels=("a", "b"))
    spec = options.spec()
    assert spec.session is not None
    assert (spec.session.retries, spec.priority, spec.name) == (2, 3, "calls")
    assert call_options() == call_options()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retries": -1}, "retries is -1. Give a number from 0 to 100"),
        ({"retries": "2"}, "retries is '2', but has to be a whole number"),
        ({"timeout": 0}, "timeout is 0. Give seconds above 0"),
        ({"timeout": "soon"}, "timeout is 'soon'"),
        ({"resources": 2}, "resources is 2. Give a dict"),
        ({"resources": {"memry": 2}}, "'memry' is not a resource.*Did you mean 'memory'"),
        ({"resources": {"memory": "much"}}, "memory: 'much' is not a size"),
        ({"resources": {"cpu": -1}}, "cpu is -1"),
        ({"resources": {"labels": [3]}}, "3 is not a label"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call_options(**options)


def test_keywords_that_nobody_takes() -> None:
    def simulate(seed: int, *, steps: int = 3) -> int:
        return seed * steps

    check_arguments(simulate, (1,), {"steps": 2}, ["retries"])
    check_arguments(max, ("a",), {"anything": 2}, [])
    check_arguments(lambda **any: any, (), {"retrys": 2}, ["retries"])
    with pytest.raises(UsageError, match=r"'retrys' is neither .* Did you mean 'retries'"):
        check_arguments(simulate, (1,), {"retrys": 2}, ["retries"])
    with pytest.raises(UsageError, match="Did you mean 'steps'"):
        check_arguments(simulate, (1,), {"step": 2}, ["retries"])


def test_chunks_grow_with_the_speed_of_items_and_shrink_at_the_end() -> None:
    pacer = Pacer(None)
    assert [pacer.next(0.0, 2) for _ in range(3)] == [1, 1, 1]
    pacer.ended(100)
    # 2 slots took a second for 100 items: 20 ms for one.
    assert pacer.next(1.0, 2) == 12
    pacer.ended(10_000_000)
    assert pacer.next(1.0, 2) == MAX_CHUNK
    known = Pacer(1_000)
    known.ended(10_000_000)
    sizes: list[int] = []
    while sum(sizes) < 1_000:
        sizes.append(known.next(1.0, 2))
    assert sizes[0] == 250
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1


def test_progress_on_a_terminal_and_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    bar = progress.Bar("neg", 100, is_shown=True, clock=clock)
    bar.add(10)
    assert screen.getvalue() == ""
    clock.advance(5.0)
    bar.add(40)
    assert screen.getvalue() == "neg: 50/100, 10/s, about 5.0 s left\n"
    monkeypatch.setattr(screen, "isatty", lambda: True)
    live = progress.Bar("neg", 100, is_shown=None, clock=clock)
    clock.advance(5.0)
    live.add(100)
    live.close()
    *_, line, end = screen.getvalue().split("\n")
    assert line.startswith(f"\r{'━' * 20} neg: 100/100, 20/s")
    assert end == ""
    silent = progress.Bar("neg", 100, is_shown=False, clock=clock)
    clock.advance(5.0)
    silent.add(3)
    assert screen.getvalue().endswith("20/s\n")


def test_a_job_is_a_line_with_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, screen = FakeClock(), io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "60")
    stages = (
        StageView(name="map", tasks=3, completed=3, done_tasks=3.0),
        StageView(name="reduce", tasks=1, records=5, done_tasks=0.0),
    )
    job = JobView(job_id="j", name="j", state=JobState.RUNNING, output_uri="", stages=stages)
    piped = progress.JobLine("count", is_shown=None, clock=clock)
    clock.advance(9.0)
    piped.update(job)
    piped.note("a word")
    piped.close()
    assert screen.getvalue() == "", "nobody asked for lines in a file"
    piped = progress.JobLine("count", is_shown=True, clock=clock)
    piped.update(job)
    clock.advance(5.0)
    piped.tick()
    piped.note("a word")
    assert screen.getvalue() == "count: map 3/3, reduce 0/1\nmrcore: a word\n"
    monkeypatch.setattr(screen, "isatty", lambda: True)
    live = progress.JobLine("write_jsonl(a/very/long/name/of/a/folder)", is_shown=None, clock=clock)
    clock.advance(1.0)
    live.update(job)
    line = screen.getvalue().split("\r")[-1]
    assert line == f"{'━' * 15}{'─' * 5} write_jsonl(a/very/long/name/of/a/fol…"
    live.note("above")
    live.close()
    assert screen.getvalue().endswith("mrcore: above\n"), "the line does not stay behind the note"


def test_status_in_numbers_and_words() -> None:
    workers = [
        WorkerView(worker_id="a", slots=4, running=3),
        WorkerView(worker_id="b", slots=4, running=9, silent_seconds=60.0),
        WorkerView(worker_id="c", slots=4, draining=True),
    ]
    stages = (
        StageView(name="map", tasks=5, idle=2, in_progress=3),
        StageView(name="reduce", tasks=2, idle=2),
    )
    running = JobView(job_id="j", name="j", state=JobState.RUNNING, output_uri="", stages=stages)
    waiting = JobView(job_id="k", name="k", state=JobState.WAITING, output_uri="")
    ended = JobView(job_id="l", name="l", state=JobState.FAILED, output_uri="", stages=stages)
    status = status_of("HOST:1", workers, [running, waiting, ended])
    assert (status.workers, status.online, status.slots, status.busy) == (3, 1, 4, 3)
    assert (status.tasks_running, status.tasks_queued) == (3, 2)
    assert (status.jobs_running, status.jobs_waiting) == (1, 1)
    assert status.utilisation == 0.75
    assert str(status).splitlines() == [
        "cluster at HOST:1",
        "3 workers, 1 online; 3 of 4 slots busy (75%)",
        "1 job running, 1 waiting; 3 tasks running, 2 queued",
    ]
    assert "width:75%" in status._repr_html_()
    assert status_of("HOST:1", [], []).utilisation == 0.0


def test_tables_are_aligned_and_escaped() -> None:
    table = Table(("name", "size"), [("a<b", 3), ("日本", 44)], title="t")
    assert str(table) == "t\nNAME  SIZE\na<b   3\n日本  44"
    assert "a&lt;b" in table._repr_html_()
    assert len(table) == 2
    assert table[0] == ("a<b", "3")
    assert list(table.dicts())[1] == {"name": "日本", "size": "44"}


def test_groups_of_lists_in_memory() -> None:
    def pairs(items: list[int]) -> list[tuple[object, int]]:
        return [(item % 3, item) for item in items]

    mapped = [map_items(pairs, 2, [1, 2, 3]), map_items(pairs, 2, [4, 5, 6])]
    found = [one for part in range(2) for one in reduce_part(list, part, *mapped) or ()]
    assert sorted((key, values) for _, key, values in found) == [
        (0, [3, 6]),
        (1, [1, 4]),
        (2, [2, 5]),
    ]
    assert [key for _, key, _ in sorted(found)] == [0, 1, 2]
    with pytest.raises(UsageError, match="Return a list of"):
        map_items(lambda items: [(1, 2, 3)], 1, [1])  # type: ignore[list-item]
    with pytest.raises(UsageError, match=r"map_func returned None\. Return a list of"):
        map_items(lambda items: None, 1, [1])  # type: ignore[arg-type,return-value]
    with pytest.raises(KeyTypeError):
        map_items(lambda items: [({}, 1)], 1, [1])


def test_ctrl_c_cancels_and_returns() -> None:
    desk = Desk()
    desk.house.hold = True
    main = threading.main_thread()

    def is_within(names: set[str]) -> bool:
        """Return whether the main thread is within functions of all these names."""
        assert main.ident is not None
        frame = sys._current_frames().get(main.ident)
        found = set()
        while frame is not None:
            found.add(frame.f_code.co_name)
            frame = frame.f_back
        return names <= found

    def interrupt(*waits_within: str) -> None:
        wait_until(lambda: desk.house.waiting and is_within(set(waits_within)))
        assert main.ident is not None
        signal.pthread_kill(main.ident, signal.SIGINT)

    try:
        threading.Thread(target=interrupt, args=("result", "wait")).start()
        call = desk.call(pow, 2, 3)
        with pytest.raises(KeyboardInterrupt):
            call.result(60)
        assert call.cancelled()
        wait_until(lambda: not desk.house.waiting)
        found = desk.map(pow, [2], [3])
        threading.Thread(target=interrupt, args=("_take_news",)).start()
        with pytest.raises(KeyboardInterrupt):
            next(found)
        wait_until(lambda: not desk.house.waiting)
        assert list(found) == []
    finally:
        desk.calls.close()
        desk.house.stop()


def test_groups_that_calls_should_not_hold_are_found_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "GROUPS_BYTES", 40_000)
    drawn = []

    def endless(items: list[int]) -> Iterator[tuple[int, str]]:
        while True:
            drawn.append(1)
            yield 1, "x" * 100

    assert map_items(endless, 4, [1]) is None
    assert len(drawn) < 200, "10,000 bytes are for one of four calls"
    small = map_items(lambda items: [(1, 2)], 4, [1])
    assert small is not None
    assert reduce_part(list, 0, small, None) is None


def test_sizes_are_estimated_by_samples() -> None:
    size = grouping.SizeEstimate(1_000_000)
    counted = next(n for n in range(1, 10_000) if size.is_exceeded_by("x" * 1_000))
    assert 800 < counted < 1_100
    lock = threading.Lock()
    assert not grouping.SizeEstimate(100).is_exceeded_by(lock), "who sends it has better words"
    assert grouping.SizeEstimate(100).is_exceeded_by([lock.__class__.__name__ * 50])


def test_a_job_groups_as_calls_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "items").write_bytes(pickled_items([1, 2, 3, 4, 5]))
    found: list[bytes] = []
    given = {
        "map": grouping.MapLists(lambda items: [(n % 2, n) for n in items]),
        "reduce": grouping.ReduceLists(lambda values: values if values[0] % 2 else None),
    }
    request = JobRequest(
        plugin=Functions(given=given),
        inputs=("items",),
        output=None,
        cwd=tmp_path,
        options={"input_format": PICKLE},
    )
    assert run_inline(request, on_result=found.append).state is JobState.SUCCEEDED
    assert list(pairs_of_results(found)) == [(0, None), (1, [1, 3, 5])]
    monkeypatch.setattr(grouping, "LIST_ITEMS", 2)
    pairs = grouping.MapLists(lambda items: [(one, len(items)) for one in items])
    assert list(pairs.over(iter(range(3)), iter("abc"))) == [("a", 2), ("b", 2), ("c", 1)]
