"""Progress on the screen while a job runs: pace, plain lines, the live display."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console
from rich.text import Text

from mrcore.cli.progress import LINE_SECONDS, LiveProgress, PlainProgress
from mrcore.client.pace import Meter, failed_words, stage_line
from mrcore.model.job import JobState
from mrcore.model.snapshots import AttemptCounts, FailureView, JobView, StageView
from mrcore.model.task import FailureKind
from tests.support.fake_clock import FakeClock


def job(
    maps_done: int,
    *,
    reduces_done: int = 0,
    records: int = 0,
    state: JobState = JobState.RUNNING,
    note: str = "",
    failures: tuple[FailureView, ...] = (),
) -> JobView:
    """Return a job of four maps and two reduces."""
    return JobView(
        job_id="wc-1",
        name="wc",
        state=state,
        output_uri="file:///out",
        stages=(
            StageView(
                name="map",
                tasks=4,
                idle=4 - maps_done,
                completed=maps_done,
                records=records,
                bytes=records * 10,
                done_tasks=maps_done,
            ),
            StageView(name="reduce", tasks=2, completed=reduces_done, done_tasks=reduces_done),
        ),
        attempts=AttemptCounts(failed=len(failures)),
        recent_failures=failures,
        note=note,
        input_bytes=1000,
    )


def test_pace_is_an_average_over_the_last_seconds() -> None:
    meter = Meter()
    meter.update(job(0), 0.0)
    pace = meter.update(job(1, records=1000), 2.0)
    assert pace.records_per_second == 500
    assert pace.bytes_per_second == 5000
    assert pace.seconds_left == 6.0
    meter.update(job(2, records=2000), 10.0)
    pace = meter.update(job(3, records=2000), 21.0)
    assert pace.records_per_second == 0


def test_pace_starts_anew_with_each_stage() -> None:
    meter = Meter()
    meter.update(job(0), 0.0)
    meter.update(job(3, records=9000), 5.0)
    pace = meter.update(job(4, records=9000), 6.0)
    assert pace.records_per_second == 0
    assert pace.seconds_left is None


def test_plain_lines_come_with_news_and_else_seldom() -> None:
    stream, clock = io.StringIO(), FakeClock()
    shown = PlainProgress(stream, clock)
    shown.update(job(0))
    for done in (0, 1, 1, 2):
        clock.advance(1.0)
        shown.update(job(done, records=done * 100))
    assert stream.getvalue() == "mrcore: wc-1: 4 map tasks, 2 reduce tasks, 1 kB of input.\n"
    clock.advance(1.5)
    shown.update(job(2, records=200))
    shown.update(job(4, records=200))
    shown.update(job(4, reduces_done=2, state=JobState.COMMITTING))
    shown.update(job(4, reduces_done=2, state=JobState.SUCCEEDED))
    lines = stream.getvalue().splitlines()[1:]
    assert [line.split(", ")[0] for line in lines] == [
        "mrcore: map 2/4",
        "mrcore: map 4/4",
        "mrcore: map 4/4",
    ]
    assert "36 records/s" in lines[0]
    assert "about 5.5 s left in this stage" in lines[0]
    assert "publishing the output" in lines[2]


def test_slow_tasks_show_their_position_also_while_nothing_ends() -> None:
    stream, clock = io.StringIO(), FakeClock()
    shown = PlainProgress(stream, clock)
    running = StageView(
        name="map", tasks=4, in_progress=2, completed=1, records=7, done_tasks=1.5, bytes=70
    )
    slow = msgspec.structs.replace(job(1), stages=(running,))
    shown.update(slow)
    clock.advance(LINE_SECONDS - 0.1)
    shown.tick()
    assert "(38%" not in stream.getvalue()
    for _ in range(2):
        clock.advance(LINE_SECONDS)
        shown.tick()
        shown.tick()
    lines = stream.getvalue().splitlines()[1:]
    assert [line.startswith("mrcore: map 1/4 (38%, 7 records)") for line in lines] == [True] * 2


def test_a_failure_is_told_once() -> None:
    stream, clock = io.StringIO(), FakeClock()
    shown = PlainProgress(stream, clock)
    failure = FailureView(
        kind=FailureKind.USER, message="boom", attempt="map-00001@1.2", worker_id="w1"
    )
    shown.update(job(0))
    shown.update(job(0, failures=(failure,)))
    shown.update(job(0, failures=(failure,)))
    assert stream.getvalue().count("map-00001@1.2 failed on w1: boom") == 1


def test_a_task_far_above_the_others_is_told_once() -> None:
    stream, clock = io.StringIO(), FakeClock()
    progress = PlainProgress(stream, clock)
    progress.update(job(3))
    view = job(4)
    stages = (view.stages[0], msgspec.structs.replace(view.stages[1], skew="reduce-00001 is hot."))
    for _ in range(2):
        clock.advance(LINE_SECONDS)
        progress.update(msgspec.structs.replace(view, stages=stages))
    assert stream.getvalue().count("mrcore: reduce-00001 is hot.\n") == 1


def test_what_fails_in_the_same_way_is_told_in_short() -> None:
    stream = io.StringIO()
    shown = PlainProgress(stream, FakeClock())
    first, second = (
        FailureView(
            kind=FailureKind.USER, message="boom: a long story", attempt=name, worker_id="w1"
        )
        for name in ("map-00001@1.2", "map-00002@1.3")
    )
    shown.update(job(0, failures=(first,)))
    shown.update(job(0, failures=(first, second)))
    assert stream.getvalue().splitlines()[1:] == [
        "mrcore: map-00001@1.2 failed on w1: boom: a long story",
        "mrcore: map-00002@1.3 failed on w1: the same again.",
    ]


def test_a_stage_without_tasks_is_not_told() -> None:
    stream, clock = io.StringIO(), FakeClock()
    shown = PlainProgress(stream, clock)
    map_only = job(1)
    no_reduces = StageView(name="reduce", tasks=0)
    map_only = msgspec.structs.replace(map_only, stages=(map_only.stages[0], no_reduces))
    shown.update(map_only)
    clock.advance(6.0)
    shown.update(map_only)
    assert stream.getvalue().splitlines() == [
        "mrcore: wc-1: 4 map tasks, 1 kB of input.",
        "mrcore: map 1/4",
    ]
    stream = io.StringIO()
    PlainProgress(stream, clock).update(msgspec.structs.replace(job(0), stages=(no_reduces,)))
    assert stream.getvalue() == "mrcore: wc-1: 1 kB of input.\n"


def test_a_note_is_told_once_it_lasts() -> None:
    stream, clock = io.StringIO(), FakeClock()
    shown = PlainProgress(stream, clock)
    shown.tick()
    shown.update(job(0, note="waiting for workers"))
    clock.advance(1.9)
    shown.tick()
    assert "waiting" not in stream.getvalue()
    clock.advance(0.2)
    shown.tick()
    shown.tick()
    assert stream.getvalue().count("mrcore: waiting for workers\n") == 1
    shown.update(job(0))
    shown.update(job(0, note="waiting for workers"))
    clock.advance(3.0)
    shown.tick()
    assert stream.getvalue().count("mrcore: waiting for workers\n") == 2


def test_line_names_failures() -> None:
    failure = FailureView(kind=FailureKind.USER, message="boom")
    assert "1 failed attempt" in stage_line(job(1, failures=(failure,)), Meter().update(job(1), 0))


def test_live_display_shows_stages_and_leaves_no_trace() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, highlight=False)
    shown = LiveProgress(FakeClock(), console)
    shown.update(job(3, records=1500, note="waiting for workers"))
    shown.tick()
    drawn = stream.getvalue()
    assert "3/4 tasks" in drawn
    assert "1.5 k records" in drawn
    assert "waiting for workers" in drawn
    shown.note("[bold]cancelling")
    shown.close()
    shown.close()
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in drawn, "a bar"
    assert "[bold]cancelling" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K")


def test_a_narrow_terminal_gets_no_bars_and_no_broken_lines() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=40, highlight=False)
    shown = LiveProgress(FakeClock(), console)
    shown.update(job(3, records=1500))
    shown.close()
    lines = Text.from_ansi(stream.getvalue()).plain.splitlines()
    assert any(line.split() == ["map", "3/4", "tasks", "1.5", "k", "records"] for line in lines)
    assert any(line.split() == ["reduce", "0/2", "tasks", "0", "records"] for line in lines)


def test_a_narrow_terminal_breaks_no_line_within_its_words() -> None:
    console = Console(file=io.StringIO(), width=40, force_terminal=True, color_system=None)
    shown = LiveProgress(FakeClock(), console)
    view = msgspec.structs.replace(job(3), job_id="sk-20261130-054421-341s8q")
    shown.update(msgspec.structs.replace(view, state=JobState.COMMITTING))
    shown.update(msgspec.structs.replace(view, job_id="x" * 41))
    shown.close()
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in Text.from_ansi(console.file.getvalue()).plain.splitlines()]
    first = next(i for i, line in enumerate(lines) if line == "sk-20261130-054421-341s8q")
    assert lines[first + 1].startswith("  committing  ")
    assert lines[first + 2].split()[0] == "map"
    assert any(line.endswith("x" * 39 + "…") for line in lines)


def long_job(done: int, *, state: JobState = JobState.RUNNING) -> JobView:
    """Return a job of 201 stages, of which some are done and the next one runs."""
    stages = [StageView(name="step1-map", tasks=4, completed=4)]
    stages += [StageView(name=f"step{n}-reduce", tasks=2, completed=2) for n in range(1, 201)]
    for n in range(done, 201):
        stages[n] = msgspec.structs.replace(stages[n], completed=int(n == done), idle=1)
    return msgspec.structs.replace(job(0), stages=tuple(stages), state=state)


def test_lines_of_a_job_of_many_stages_show_those_that_run() -> None:
    stream, clock = io.StringIO(), FakeClock()
    shown = PlainProgress(stream, clock)
    for done in (0, 7, 200):
        shown.update(long_job(done))
    shown.update(long_job(201, state=JobState.COMMITTING))
    assert stream.getvalue().splitlines() == [
        "mrcore: wc-1: 201 stages of 404 tasks in all, 1 kB of input.",
        "mrcore: 7 of 201 stages done, step7-reduce 1/2",
        "mrcore: 200 of 201 stages done, step200-reduce 1/2",
        "mrcore: 201 of 201 stages done, publishing the output",
    ]


def test_the_live_display_of_a_job_of_many_stages_shows_those_that_run() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    shown = LiveProgress(FakeClock(), console)
    shown.update(long_job(7))
    shown.close()
    assert isinstance(console.file, io.StringIO)
    text = Text.from_ansi(console.file.getvalue()).plain
    assert "7 of 201 stages done" in text
    assert "step7-reduce" in text
    assert "step6-reduce" not in text
    assert "step8-reduce" not in text


def waiting(note: str) -> JobView:
    """Return a job that waits; it has no stages yet."""
    return JobView(
        job_id="wc-2",
        name="wc",
        state=JobState.WAITING,
        output_uri="file:///out",
        note=note,
        waits_for=("wc-1",),
    )


def test_a_job_that_waits_says_for_what_once_and_then_goes_on() -> None:
    stream, clock = io.StringIO(), FakeClock()
    shown = PlainProgress(stream, clock)
    for view in (waiting("waits for wc-1"), waiting("waits for wc-1"), waiting("is being planned")):
        clock.advance(30.0)
        shown.update(view)
        shown.tick()
    shown.update(job(0))
    assert stream.getvalue().splitlines() == [
        "mrcore: wc-2 waits for wc-1",
        "mrcore: wc-2 is being planned",
        "mrcore: wc-1: 4 map tasks, 2 reduce tasks, 1 kB of input.",
    ]


def test_a_job_that_failed_while_it_waited_had_no_tasks() -> None:
    stream = io.StringIO()
    shown = PlainProgress(stream, FakeClock())
    shown.update(waiting("waits for wc-1"))
    shown.update(msgspec.structs.replace(waiting(""), state=JobState.FAILED, waits_for=()))
    assert stream.getvalue() == "mrcore: wc-2 waits for wc-1\n"


def test_the_live_display_of_a_job_that_waits() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    shown = LiveProgress(FakeClock(), console)
    shown.update(waiting("waits for wc-1"))
    shown.close()
    assert isinstance(console.file, io.StringIO)
    text = Text.from_ansi(console.file.getvalue()).plain
    assert "wc-2  waiting" in text
    assert "waits for wc-1" in text
    assert "records/s" not in text


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (AttemptCounts(failed=1), "1 failed attempt"),
        (AttemptCounts(failed=1, infrastructure=1), "2 failed attempts"),
        (AttemptCounts(expired=2), "2 lost attempts"),
        (AttemptCounts(failed=3, expired=1), "3 failed and 1 lost attempt"),
    ],
)
def test_attempts_of_lost_workers_have_not_failed(counts: AttemptCounts, words: str) -> None:
    assert failed_words(msgspec.structs.replace(job(1), attempts=counts)) == words
