"""Costs of blows, and the report of a rehearsal."""

from __future__ import annotations

import msgspec
import pytest

from mrcore.chaos.core.costs import Blow, Held, priced, running, sums_by_kind
from mrcore.chaos.core.strikes import Kind
from mrcore.chaos.report import Report, RunReport, Verdict
from mrcore.model.job import TaskState
from mrcore.model.snapshots import AttemptView, TaskView


def attempt(number: str, state: str, worker: str = "worker-1", seconds: float = 1.0) -> AttemptView:
    return AttemptView(number=number, worker_id=worker, state=state, elapsed_seconds=seconds)


def task(index: int, *attempts: AttemptView) -> TaskView:
    return TaskView(stage="map", index=index, state=TaskState.COMPLETED, attempts=attempts)


def blow(kind: Kind, *held: str, recovery: float | None = None) -> Blow:
    return Blow(
        run=1,
        kind=kind,
        who="worker-1",
        done=0.5,
        held=tuple(Held(name, 2.0) for name in held),
        recovery_seconds=recovery,
    )


def test_what_a_worker_runs() -> None:
    tasks = [
        task(0, attempt("1.1", "running")),
        task(1, attempt("1.2", "unstarted")),
        task(2, attempt("1.3", "running", "worker-2", 3.0)),
    ]
    assert running(tasks, "worker-1") == (Held("map-00000@1.1", 1.0),)
    assert running(tasks) == (Held("map-00000@1.1", 1.0), Held("map-00002@1.3", 3.0))


def test_an_attempt_that_did_not_win_is_lost_and_charged_once() -> None:
    first = blow(Kind.KILL_WORKER, "map-00000@1.1", "map-00001@1.2")
    second = blow(Kind.PAUSE_WORKER, "map-00001@1.2", "map-00002@1.3")
    tasks = [
        task(0, attempt("1.1", "won")),  # it had ended before the blow
        task(1, attempt("1.2", "failed"), attempt("2.1", "won")),
        task(2, attempt("1.9", "won")),
        task(3, attempt("1.4", "failed"), attempt("1.5", "won")),
    ]
    (one, two), others = priced([first, second], tasks)
    assert (one.attempts_lost, one.seconds_lost) == (1, 2.0)
    assert (two.attempts_lost, two.seconds_lost) == (1, 2.0)
    assert others == 1  # of task 3, which no blow has met


def test_a_memory_kill_is_charged_with_an_attempt_that_began_after_the_look() -> None:
    kills = [
        msgspec.structs.replace(blow(Kind.MEMORY_KILL, "map-00000@1.1"), worker="worker-1")
        for _ in range(2)
    ]
    tasks = [
        task(0, attempt("1.1", "won")),
        task(1, attempt("1.2", "failed", "worker-2"), attempt("2.2", "won")),
        task(2, attempt("1.3", "failed", "worker-1", 0.5), attempt("2.3", "won")),
    ]
    priced_kills, others = priced([*kills, blow(Kind.KILL_MASTER)], tasks)
    assert [(one.attempts_lost, one.seconds_lost) for one in priced_kills] == [
        (1, 0.5),
        (0, 0.0),
        (0, 0.0),
    ]
    assert others == 1  # that of worker-2


def test_sums_by_kind() -> None:
    blows = [
        blow(Kind.KILL_MASTER, recovery=2.0),
        blow(Kind.KILL_WORKER),
        blow(Kind.KILL_MASTER, recovery=4.0),
    ]
    worker, master = sums_by_kind(blows)
    assert (worker.kind, worker.count, worker.slowest_recovery_seconds) == (
        Kind.KILL_WORKER,
        1,
        None,
    )
    assert (master.kind, master.count) == (Kind.KILL_MASTER, 2)
    assert (master.mean_recovery_seconds, master.slowest_recovery_seconds) == (3.0, 4.0)


def run(number: int, verdict: Verdict) -> RunReport:
    return RunReport(run=number, job_id="j", verdict=verdict, seconds=1.0, storage_faults=number)


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([Verdict.EQUAL, Verdict.EQUAL], 0),
        ([Verdict.EQUAL, Verdict.EQUAL, Verdict.FAILED], 0),
        ([Verdict.EQUAL, Verdict.FAILED], 1),  # nothing was compared
        ([Verdict.EQUAL, Verdict.EQUAL, Verdict.FAILED_UNCLEARLY], 1),
        ([Verdict.EQUAL, Verdict.EQUAL, Verdict.DIFFERENT], 1),
        ([Verdict.DIFFERENT], 1),
        ([Verdict.FAILED, Verdict.EQUAL], 1),  # without disasters nothing may fail
        ([Verdict.EQUAL], 1),
    ],
)
def test_the_exit_code(verdicts: list[Verdict], code: int) -> None:
    runs = tuple(run(number, verdict) for number, verdict in enumerate(verdicts))
    report = Report(seed=7, sequential_seconds=1.0, runs=runs, repeat="mrcore chaos wc.py")
    assert report.exit_code == code
    assert report.as_json()["equal"] is (code == 0)


def test_faults_of_the_store_are_a_line_of_the_report() -> None:
    runs = (run(0, Verdict.EQUAL), run(3, Verdict.EQUAL))
    report = Report(seed=7, sequential_seconds=1.0, runs=runs, repeat="")
    (only,) = report.sums()
    assert (only.kind, only.count) == (Kind.STORAGE, 3)
    assert report.quiet_seconds == 1.0


def test_attempts_that_fail_by_themselves_are_not_charged_to_the_store() -> None:
    quiet, struck = (
        msgspec.structs.replace(run(number, Verdict.EQUAL), storage_faults=0, other_failures=5)
        for number in range(2)
    )
    report = Report(seed=7, sequential_seconds=1.0, runs=(quiet, struck), repeat="")
    assert (report.sums(), report.failed_by_themselves) == ([], 10)
    failing = msgspec.structs.replace(struck, storage_faults=9)
    report = Report(seed=7, sequential_seconds=1.0, runs=(quiet, failing), repeat="")
    (only,) = report.sums()
    assert (only.kind, only.count, only.attempts_lost) == (Kind.STORAGE, 9, 5)
    assert report.failed_by_themselves == 5  # of the run without disasters
