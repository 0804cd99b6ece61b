"""Children over the real pipe: what user code may do to its process, and what is said of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from mrcore.model.attempts import Assignment
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.task import FailureKind, Piece, Split, TaskOutput, TaskWork
from mrcore.tasks.child.protocol import Order, discard_order
from mrcore.worker.core.limits import DEFAULT
from mrcore.worker.shell.child_process import ChildProcess
from mrcore.worker.shell.orphans import Orphans
from tests.support.supervised_worker import SupervisedWorker, alive, in_house
from tests.support.worker_children import fork_server

pytestmark = pytest.mark.timeout(60)


MAP = """
    def map(key, value):
        yield value, 1
"""


@in_house()
async def test_a_process_is_reused_within_a_job(house: SupervisedWorker) -> None:
    house.job("import os\ndef map(key, value):\n    yield value, os.getpid()\n")
    attempts = [house.give(f"line {n}\n") for n in range(50)]
    results = [await house.result(attempt) for attempt in attempts]
    assert all(isinstance(r, TaskOutput) and r.records_out == 1 for r in results), results
    assert len(house.processes()) == 1
    assert not (house.folder / "state/logs").exists(), "nobody printed"


@in_house()
async def test_another_job_gets_another_process(house: SupervisedWorker) -> None:
    source = """
        import os
        print(os.getpid())
        def map(key, value):
            yield value, print(os.getpid())
    """
    house.job(source, "one")
    house.job(source, "two")
    first, second = house.give(job_id="one"), house.give(job_id="two")
    third = house.give(job_id="one")
    for attempt in (first, second, third):
        assert isinstance(await house.result(attempt), TaskOutput)
    one, two = set(house.log(first).split()), set(house.log(second).split())
    assert len(one) == len(two) == 1
    assert one.isdisjoint(two)
    assert house.log(third).split() == [*one], "the plugin was imported once, in the same process"


@in_house()
async def test_an_exception_is_a_failure_with_the_users_frames(house: SupervisedWorker) -> None:
    house.job("def map(key, value):\n    return helper(value)\ndef helper(v):\n    return {}[v]\n")
    failure = await house.failure(house.give("oops\n"))
    assert (failure.kind, failure.died) == (FailureKind.USER, False)
    assert f'File "{house.folder}/job.py", line 2, in map' in failure.traceback
    assert "KeyError: 'oops'" in failure.traceback
    assert "/mrcore/" not in failure.traceback


@in_house()
async def test_a_plugin_that_does_not_import_fails_every_attempt_alike(
    house: SupervisedWorker,
) -> None:
    house.job("print('importing')\nraise RuntimeError('no')\n")
    first, second = house.give(), house.give()
    failure = await house.failure(first)
    assert failure.message == "job.py cannot be imported: RuntimeError: no"
    assert f'File "{house.folder}/job.py", line 2' in failure.traceback
    assert await house.failure(second) == failure
    assert house.log(first) == "importing\n"


BROKEN = """
import sys
def broken(*arguments, **options):
    raise LookupError("a gear is missing")
sys.modules['mrcore.tasks.child.stages'].run_task = broken
def map(key, value):
    yield value, 1
"""


@in_house()
async def test_a_defect_of_ours_is_told_alike_each_time(house: SupervisedWorker) -> None:
    house.job(BROKEN)
    first, second = house.give(), house.give()
    failure = await house.failure(first)
    assert failure.kind is FailureKind.DATA, "the same words twice end the job"
    assert failure.message.startswith("mrcore itself failed (LookupError: a gear is missing): ")
    assert await house.failure(second) == failure
    assert "in broken" in house.log(first)


@in_house()
async def test_a_worker_that_does_not_see_the_output_says_so(house: SupervisedWorker) -> None:
    house.job(MAP, claimed=False)
    failure = await house.failure(house.give())
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert "this worker does not see the output file://" in failure.message
    assert "use a store that every machine reaches" in failure.message
    (house.folder / "out-job/_claim").write_text('{"job_id": "job"}')
    assert isinstance(await house.result(house.give()), TaskOutput)


@in_house()
async def test_what_is_printed_is_kept_for_each_attempt(house: SupervisedWorker) -> None:
    house.job("""
        import logging, os, sys
        def map(key, value):
            if value == "quiet":
                return []
            print("out", value)
            print("err", value, file=sys.stderr)
            logging.getLogger("mine").info("logged %s", value)
            os.system(f"echo shell {value}")
            return []
    """)
    loud, quiet, loud_again = house.give("a\n"), house.give("quiet\n"), house.give("b\n")
    await house.result(loud_again)
    lines = house.log(loud).splitlines()
    assert [line for line in lines if "logged" not in line] == ["out a", "err a", "shell a"]
    assert any(line.endswith("INFO mine: logged a") for line in lines)
    assert house.log(loud_again).count("\n") == 4
    assert not house.log_path(quiet).exists()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("import os; os._exit(3)", "exited with status 3 without a traceback"),
        (
            "import ctypes; ctypes.string_at(0)",
            "crashed with a segmentation fault (signal 11) without a traceback",
        ),
        ("import os; os.abort()", "aborted (signal 6) without a traceback"),
        (
            "import os; os.kill(os.getpid(), 9)",
            "was killed, most likely by the kernel because the machine ran out of memory "
            "(signal 9) without a traceback",
        ),
        ("import os; os.closerange(0, 100)", "lost its connection to the worker, since user code"),
    ],
)
def test_a_death_is_named(tmp_path: Path, body: str, sentence: str) -> None:
    @in_house()
    async def run(house: SupervisedWorker) -> None:
        house.job(f"def map(key, value):\n    print('last words')\n    {body}\n    return []\n")
        first = await house.failure(house.give())
        assert first.mark is None
        assert first.message.startswith(
            f"the process of map task 1, at work on input-1, {sentence}"
        )
        attempt = house.give(mark=True)
        failure = await house.failure(attempt)
        assert failure.kind is FailureKind.USER
        assert failure.died
        # Without descriptors it is our code that dies, of none of the records.
        in_map = "closerange" not in body
        place = (
            "at work on the record at offset 0 of input-2, " if in_map else "at work on input-2, "
        )
        assert failure.message.startswith(f"the process of map task 2, {place}{sentence}")
        if in_map:
            assert failure.mark is not None
            assert failure.mark.uri.endswith("/input-2")
            assert house.log(attempt).startswith("last words\n")
        house.job(MAP, "next")
        assert isinstance(await house.result(house.give(job_id="next")), TaskOutput)

    run(tmp_path)


@in_house()
async def test_sys_exit_is_a_failure_and_costs_no_process(house: SupervisedWorker) -> None:
    house.job("import sys\ndef map(key, value):\n    sys.exit('enough')\n")
    failure = await house.failure(house.give())
    assert "sys.exit('enough')" in failure.message + failure.traceback
    assert not failure.died


@in_house()
async def test_a_time_limit_ends_an_attempt_and_spares_those_behind_it(
    house: SupervisedWorker,
) -> None:
    house.job(
        """
        import threading
        def map(key, value):
            if value == "hang":
                threading.Event().wait()
            return []
        """,
        timeout_seconds=0.5,
    )
    hang, after = house.give("hang\n"), house.give("fine\n")
    failure = await house.failure(hang)
    assert failure.died
    assert failure.message == (
        "the process of map task 1, at work on input-1, "
        "ran longer than the 0.5 s that --task-timeout allows"
    )
    assert isinstance(await house.result(after), TaskOutput)


@in_house()
async def test_a_memory_hog_is_killed_for_that(house: SupervisedWorker) -> None:
    house.job(
        """
        import threading
        def map(key, value):
            hog = bytearray(b"x") * (400 << 20)
            threading.Event().wait()
        """,
        memory_bytes=300 << 20,
    )
    failure = await house.failure(house.give())
    assert failure.died
    beginning = "the process of map task 1, at work on input-1, used "
    used, _, rest = failure.message.removeprefix(beginning).partition(" ")
    assert int(used) > 300
    assert rest.startswith("MiB of the 300 MiB that --memory allows a slot: ")


GRANDCHILDREN = """
    import os, subprocess, sys
    def map(key, value):
        tree = [sys.executable, "-c", "import os,signal; os.fork(); signal.pause()"]
        for setsid in (False, True):
            subprocess.Popen(tree, start_new_session=setsid)
        os.fork() or signal_pause()
        print("ready", flush=True)
        signal_pause()
    def signal_pause():
        import signal
        signal.pause()
"""


@in_house()
async def test_a_killed_attempt_takes_all_its_processes_along(house: SupervisedWorker) -> None:
    house.job(GRANDCHILDREN)
    attempt = house.give()
    await house.until(lambda: len(house.processes()) == 6)
    family = house.processes()
    house.supervisor.kill(attempt)
    await house.until(lambda: not any(alive(process_id) for process_id in family))
    assert attempt not in house.results, "nobody wants to hear of it"


@in_house()
async def test_only_what_has_not_begun_can_be_taken_back(house: SupervisedWorker) -> None:
    house.job("""
        import threading
        def map(key, value):
            print(value, flush=True)
            if value == "long":
                threading.Event().wait()
            return []
    """)
    first, second, third = house.give("long\n"), house.give("b\n"), house.give("c\n")
    supervisor = house.supervisor
    await house.until(lambda: [r.attempt for r in supervisor.running()] == [first])
    assert not supervisor.withdraw(first)
    assert supervisor.withdraw(second)
    supervisor.kill(first)
    assert isinstance(await house.result(third), TaskOutput)
    assert set(house.results) == {third}
    assert not house.log_path(second).exists()


@in_house(slots=2)
async def test_an_idle_slot_takes_over_what_waits_behind_a_long_attempt(
    house: SupervisedWorker,
) -> None:
    house.job("""
        import os, threading
        def map(key, value):
            print(os.getpid())
            if value == "long":
                threading.Event().wait()
            return []
    """)
    house.give("long\n")
    others = [house.give("short\n") for _ in range(20)]
    for attempt in others:
        assert isinstance(await house.result(attempt), TaskOutput)
    assert len({house.log(attempt) for attempt in others}) == 1


@in_house()
async def test_progress_and_status_are_seen_while_it_runs(house: SupervisedWorker) -> None:
    house.job("""
        import threading
        context = None
        def setup(given):
            global context
            context = given
        def map(key, value):
            context.status("at " + value)
            threading.Event().wait()
    """)
    attempt = house.give("line\n")
    supervisor = house.supervisor
    await house.until(lambda: [r.progress.status for r in supervisor.running()] == ["at line"])
    (running,) = supervisor.running()
    assert running.attempt == attempt
    assert 0.0 <= running.elapsed_seconds < 30.0


@in_house()
async def test_a_long_order_goes_through_a_file(house: SupervisedWorker) -> None:
    house.job(MAP)
    piece = Piece("file:///gone-" + "x" * 200, "gone", 0, 1, 1, "1")
    attempt = AttemptId(TaskId("job", 0, 0), AttemptNumber(1, 1))
    house.supervisor.enqueue(Assignment(attempt, 0, TaskWork(Split((piece,) * 1000), 0)))
    house.supervisor.dispatch()
    await house.failure(attempt)
    assert list((house.folder / "scratch").glob("*.order")) == []


@in_house()
async def test_a_child_that_cannot_start_fails_its_attempts(house: SupervisedWorker) -> None:
    house.job(MAP)
    site = house.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import os; os._exit(7)\n")
    house.supervisor.close()
    house.supervisor._starter._server._environment["PYTHONPATH"] = str(site)
    failure = await house.failure(house.give())
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert failure.message.startswith("this worker cannot start the processes that run tasks")


def test_orders_are_recalled_by_name_while_the_child_takes_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fork_server(tmp_path) as server:
        child = ChildProcess(tmp_path, server, 1, DEFAULT, Orphans())
    os.kill(child.process_id, signal.SIGSTOP)
    os.waitid(os.P_PID, child.process_id, os.WSTOPPED)
    orders = [
        Order(AttemptId(TaskId("job", 0, n), AttemptNumber(1, n)), TaskWork(Split(()), 0))
        for n in range(4)
    ]
    assert all(child.send(order, "job") for order in orders)

    def discard_first(message: bytes) -> AttemptId:
        monkeypatch.undo()
        child._child_orders.recv(1 << 16)  # what the child would do at this moment
        return discard_order(message)

    monkeypatch.setattr("mrcore.worker.shell.child_process.discard_order", discard_first)
    assert child.recall() == [orders[0], orders[2], orders[3]]
    assert list(child.sent) == [orders[1]]
    child.kill()
    assert child.reap() == -signal.SIGKILL
    child.close()
