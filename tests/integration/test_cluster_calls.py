"""Calls on a real cluster: functions, futures, scattered values, map, and lists in memory."""

from __future__ import annotations

import ctypes
import importlib
import math
import operator
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

import mrcore
from mrcore.calls.exceptions import RemoteTraceback
from mrcore.cli.main import run_command_line
from tests.support.waiting import wait_until

pytestmark = pytest.mark.xdist_group("calls")  # one cluster for all


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mrcore.LocalCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("home")))
        with mrcore.LocalCluster(workers=2) as found:
            yield found


class OwnError(Exception):
    """An error with a constructor of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(f"number {number}")
        self.number = number


def raise_own(number: int) -> None:
    raise OwnError(number)


def test_calls_raise_what_the_function_raises(cluster: mrcore.LocalCluster) -> None:
    factor = 3
    assert cluster.call(lambda x, *, y: x * y * factor, 2, y=5).result(60) == 30
    with pytest.raises(OwnError, match=r"^number 7$") as caught:
        cluster.call(raise_own, 7).result(60)
    assert caught.value.number == 7
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in raise_own" in str(caught.value.__cause__)
    with pytest.raises(mrcore.RemoteError, match="exit"):
        cluster.call(os._exit, 3, max_attempts=1).result(60)
    lock = threading.Lock()
    with pytest.raises(mrcore.PicklingError, match="variable lock in the closure of the lambda at"):
        cluster.call(lambda: lock)
    with pytest.raises(mrcore.UsageError, match=r"'retrys' is neither.*Did you mean 'retries'\?"):
        cluster.call(raise_own, 3, retrys=3)


def poison(number: int) -> int:
    if number == 3:
        ctypes.string_at(0)
    if number == 7:
        os._exit(5)
    while number == 12:
        pass
    return number


def test_items_that_end_or_block_their_process_spoil_no_others(
    cluster: mrcore.LocalCluster,
) -> None:
    results = cluster.map(poison, range(20), chunksize=5, timeout="2s", errors="return")
    found: list[Any] = list(results)
    assert [n for n in range(20) if found[n] != n] == [3, 7, 12]
    assert isinstance(found[3], mrcore.RemoteError)
    assert "crashed with a segmentation fault" in str(found[3])
    assert "exited with status 5" in str(found[7])
    assert isinstance(found[12], TimeoutError)
    notes = [getattr(found[n], "__notes__", []) for n in (3, 7, 12)]
    assert notes == [[f"It was item {n} of the map, counted from 0."] for n in (3, 7, 12)]
    assert cluster.call(poison, 1).result(60) == 1


def test_retries_and_fallback(cluster: mrcore.LocalCluster, tmp_path: Path) -> None:
    def flaky(need: int) -> int:
        tries = len(list(tmp_path.glob("try-*")))
        (tmp_path / f"try-{tries}").touch()
        if tries < need:
            raise ValueError(tries)
        return tries

    assert cluster.call(flaky, 2, retries=2).result(60) == 2
    assert cluster.call(raise_own, 1, fallback=lambda number: -number).result(60) == -1


def test_prints_appear_at_the_caller(
    cluster: mrcore.LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.call(print, "from the worker").result(60)
    assert capsys.readouterr().out == "from the worker\n"
    cluster.show_prints = False
    try:
        cluster.call(print, "again").result(60)
    finally:
        cluster.show_prints = True
    assert capsys.readouterr().out == ""


def test_values_go_from_call_to_call(cluster: mrcore.LocalCluster) -> None:
    long = cluster.call(bytes, 300_000)
    lengths = [cluster.call(lambda data, n: len(data) + n, long, n) for n in range(4)]
    total = cluster.call(sum, lengths)
    assert total.result(60) == 4 * 300_000 + 6
    done, waiting = futures.wait([long, *lengths, total])
    assert (len(done), len(waiting)) == (6, 0)
    assert {one.result() for one in futures.as_completed(lengths)} == {
        300_000 + n for n in range(4)
    }
    shared = cluster.scatter(list(range(100_000)))
    assert list(cluster.map(lambda data, at: data[at], [shared] * 10, range(10))) == list(range(10))
    failed = cluster.call(operator.truediv, 1, 0)
    taker = cluster.call(operator.neg, failed)
    with pytest.raises(ZeroDivisionError) as caught:
        taker.result(60)
    (note,) = caught.value.__notes__
    assert note.startswith("The argument that is the result of call-")


def test_map_over_many_items(cluster: mrcore.LocalCluster) -> None:
    assert list(cluster.map(math.sqrt, range(20_000))) == list(map(math.sqrt, range(20_000)))
    found = cluster.map(lambda n: 1 // n, [1, 0, 2], errors="return")
    assert [type(one) for one in found] == [int, ZeroDivisionError, int]


def test_the_session_of_a_notebook(cluster: mrcore.LocalCluster) -> None:
    """Lists in memory, as users of such clusters know it."""
    data = [f"word{number % 100} word{number % 7}" for number in range(20_000)]

    def map_func(items: list[str]) -> list[tuple[str, int]]:
        return [(word, 1) for item in items for word in item.split()]

    def reduce_func(values: list[int]) -> int:
        return sum(values)

    expected = sorted(Counter(word for item in data for word in item.split()).items())
    assert cluster.mapreduce(data, map_func, reduce_func, workers=4) == expected

    with futures.ThreadPoolExecutor(10) as threads:
        ten = [
            threads.submit(cluster.mapreduce, data, map_func, reduce_func, workers=4)
            for _ in range(10)
        ]
        assert all(one.result() == expected for one in ten)

    assert cluster.mapreduce([], map_func, reduce_func) == []
    # The values of a key come in the order of the data.
    assert cluster.mapreduce(range(10), lambda some: [(n % 2, n) for n in some], list, 3) == [
        (0, [0, 2, 4, 6, 8]),
        (1, [1, 3, 5, 7, 9]),
    ]
    with pytest.raises(OwnError, match=r"^number \[1\]$"):
        cluster.mapreduce([1], raise_own, sum)  # type: ignore[arg-type]
    with pytest.raises(mrcore.UsageError, match="map_func returned 'abc'"):
        cluster.mapreduce([1], lambda some: ["abc"], sum)  # type: ignore[arg-type, return-value]
    lock = threading.Lock()
    locked = r"^The function \S+ cannot be sent to a worker, since the variable lock in the closure"
    with pytest.raises(mrcore.PicklingError, match=locked):
        cluster.mapreduce([1], lambda some: [(lock, n) for n in some], sum)
    with pytest.raises(mrcore.PicklingError, match=locked):
        cluster.mapreduce([1], lambda some: [(n, n) for n in some], lambda values: (lock, values))
    with pytest.raises(mrcore.PicklingError, match=r"^Item 2 of the data cannot be sent"):
        cluster.mapreduce([1, 2, lock], map_func, reduce_func)  # type: ignore[arg-type]
    assert cluster.status().busy <= 2
    assert "worker-1" in str(cluster.monitor.workers())


def test_data_that_is_too_large_for_calls_is_a_job(
    cluster: mrcore.LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pairs(items: list[int]) -> list[tuple[int, int]]:
        return [(n % 3, n) for n in items]

    usual = cluster.mapreduce(range(1_000), pairs, list, 3)
    assert not [job for job in cluster.jobs() if job.name == "mapreduce"]
    monkeypatch.setattr("mrcore.cluster.in_memory.GROUPS_BYTES", 10_000)
    assert cluster.mapreduce(range(1_000), pairs, list, 3) == usual
    (job,) = [job for job in cluster.jobs() if job.name == "mapreduce"]
    assert [stage.name for stage in job.stages] == ["map", "reduce"]
    assert job.stages[1].tasks == 3
    with pytest.raises(mrcore.RunFailedError, match=r"map raised OwnError: number \[\d"):
        cluster.mapreduce(range(1_000), raise_own, sum, 3)  # type: ignore[arg-type]


def test_a_call_that_no_worker_can_run_says_so(cluster: mrcore.LocalCluster) -> None:
    call = cluster.call(pow, 2, 3, resources={"labels": {"gpu"}})
    # Before the workers of a new cluster have joined, the note says that.
    wait_until(lambda: "no worker has the label gpu" in call.note)
    assert "no worker has the label gpu" in repr(call)
    late = r"^call-\d{5} of \S+ has not ended within 0 s: waiting: no worker has the label gpu.*\.$"
    with pytest.raises(TimeoutError, match=late):
        call.result(timeout=0)
    assert call.cancel()
    assert call.note == ""
    assert cluster.call(pow, 2, 3, resources={"cpu": 1, "memory": "1MiB"}).result(60) == 8


def test_a_call_has_a_time_limit_of_its_own(cluster: mrcore.LocalCluster, tmp_path: Path) -> None:
    def wait() -> None:
        with (tmp_path / "tries").open("a") as tries:
            tries.write("x")
        signal.pause()

    limit = "ran longer than the 0.3 s that timeout= allows: give it more time"
    with pytest.raises(TimeoutError, match=limit):
        cluster.call(wait, timeout=0.3, retries=1).result(60)
    assert (tmp_path / "tries").read_text() == "xx"  # and not max_attempts


def test_a_call_that_runs_is_replayed_here(
    cluster: mrcore.LocalCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = os.getpid()

    def wait(name: str) -> str:
        if os.getpid() == here:
            raise ValueError(f"{name} is here")
        (tmp_path / "started").touch()
        while not (tmp_path / "go").exists():
            threading.Event().wait(0.02)
        return name

    future = cluster.call(wait, "it", priority=7)
    wait_until((tmp_path / "started").exists)
    [session] = [job.job_id for job in cluster.jobs() if job.priority == 7]
    replay = ["replay", session, "call-00000", "--state", cluster.state]
    assert run_command_line(replay) == 1
    said = capsys.readouterr().err
    assert f'File "{__file__}"' in said
    assert "call-00000 fails here: " in said
    assert "raised ValueError: it is here" in said
    (tmp_path / "go").touch()
    assert future.result(60) == "it"
    assert run_command_line(replay) == 1
    assert "it has ended, and the arguments of a call are kept until" in capsys.readouterr().err


def test_a_task_of_a_failed_dataset_is_replayed_here(
    cluster: mrcore.LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = mrcore.from_items([("a", 1), ("b", 2), ("a", 3)])
    with pytest.raises(mrcore.RunFailedError, match="ZeroDivisionError"):
        pairs.sum_by_key().map(lambda pair: pair[1] / 0).collect(on=cluster)
    failed = next(job for job in cluster.jobs() if job.state == "failed")
    [task] = set(re.findall(r"reduce-\d+", failed.message))
    replay = ["replay", failed.job_id, task, "--state", cluster.state]
    wait_until(lambda: run_command_line(replay) == 1)
    assert "fails here as in attempt" in capsys.readouterr().err


def test_modules_that_calls_import_when_they_run_come_along(
    cluster: mrcore.LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of these is loaded here, and the workers do not have the folder."""
    for name, source in (
        ("lazy_near.py", "import lazy_further\ndef twice(x): return lazy_further.TWO * x\n"),
        ("lazy_further.py", "TWO = 2\n"),
        ("lazy_pack/__init__.py", ""),
        ("lazy_pack/inner.py", "from pathlib import Path\nONE = int("
         "(Path(__file__).parent / 'one.txt').read_text())\n"),
        ("lazy_pack/one.txt", "1"),
        ("lazy_named.py", "ANSWER = 42\n"),
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))

    def lazy(x: int) -> int:
        import lazy_near  # type: ignore[import-not-found]
        from lazy_pack import inner  # type: ignore[import-not-found]

        found: int = lazy_near.twice(x) + inner.ONE
        return found

    def computed(name: str) -> Any:
        return importlib.import_module(name).ANSWER

    assert cluster.call(lazy, 20).result(60) == 41
    assert cluster.call(lambda function: function(1), lazy).result(60) == 3
    assert list(cluster.map(lazy, range(3))) == [1, 3, 5]
    missing = cluster.call(computed, "lazy_named")
    with pytest.raises(ModuleNotFoundError, match="lazy_named") as caught:
        missing.result(60)
    assert "name a module of yours in modules= of the cluster" in caught.value.__notes__[0]
    with mrcore.connect(state=cluster.state, modules=["lazy_named"]) as other:
        assert other.call(computed, "lazy_named").result(60) == 42
        assert other.call(lazy, 20).result(60) == 41
    assert cluster.call(lazy, 21).result(60) == 43
    assert {"lazy_near", "lazy_pack", "lazy_named"}.isdisjoint(sys.modules)


FIRST_PROGRAM = """
import os, sys, time
import mrcore

def wait(path):
    while not os.path.exists(path):
        time.sleep(0.01)
    return "waited"

cluster = mrcore.connect(state=sys.argv[1])
calls = [
    cluster.call(divmod, 7, 2, keep=True),
    cluster.call(bytes, 100_000, keep=True),
    cluster.call(divmod, 7, 0, keep=True),
    cluster.call(wait, sys.argv[2], keep=True),
    cluster.call(abs, -4, keep=True),
]
assert len({call.job_id for call in calls}) == 1
assert calls[4].result(60) == 4
print(calls[0].job_id, flush=True)
os._exit(0)  # without a farewell
"""


def test_another_program_takes_up_kept_calls(cluster: mrcore.LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text(FIRST_PROGRAM)
    command = [sys.executable, str(tmp_path / "first.py"), cluster.state, str(tmp_path / "go")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    session_id = ended.stdout.strip()
    assert session_id, ended.stderr
    calls = cluster.attach(session_id)
    assert sorted(calls) == [0, 1, 2, 3, 4]
    assert [calls[n].call_id for n in (0, 3)] == ["call-00000", "call-00003"]
    assert calls[0].result(60) == (3, 1)
    assert len(calls[1].result(60)) == 100_000
    with pytest.raises(ZeroDivisionError):
        calls[2].result(60)
    assert not calls[3].done()
    double = cluster.call(operator.mul, calls[3], 2)  # values go from worker to worker
    (tmp_path / "go").touch()
    assert double.result(60) == "waitedwaited"
    assert calls[3].result(60) == "waited"
    # What has been read stays for others, until it is closed.
    assert calls[4].result(60) == 4
    calls[4].close()

    def freed() -> bool:
        again = cluster.attach(session_id)
        assert again[0].result(60) == (3, 1)
        return "call-00004 of " in str(again[4].exception(60))

    wait_until(freed)
    with pytest.raises(mrcore.MrcoreError, match="nothing-20260101-000000-0000"):
        cluster.attach("nothing-20260101-000000-0000")


def test_cancelled_calls_are_killed(cluster: mrcore.LocalCluster, tmp_path: Path) -> None:
    def wait() -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        signal.pause()

    call = cluster.call(wait)
    wait_until(lambda: (tmp_path / "pid").exists() and call.running())
    assert call.cancel()
    process_id = int((tmp_path / "pid").read_text())

    def is_gone() -> bool:
        try:
            os.kill(process_id, 0)
        except ProcessLookupError:
            return True
        return False

    wait_until(is_gone)


def test_every_result_once_while_a_worker_and_the_master_are_killed(
    cluster: mrcore.LocalCluster,
) -> None:
    results: list[Any] = []
    squares = cluster.map(lambda n: n * n, range(10_000), chunksize=1)
    for number, value in enumerate(squares):
        results.append(value)
        if number == 500:
            worker = cluster.process_ids()[1]
            os.kill(worker, signal.SIGKILL)
        if number == 1_500:
            os.kill(cluster.process_ids()[0], signal.SIGKILL)
    assert results == [n * n for n in range(10_000)]
