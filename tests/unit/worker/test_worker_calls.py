"""Calls in the children of a worker: real processes."""

from __future__ import annotations

import ctypes
import io
import os
import sys
from pathlib import Path

import mrcore
from mrcore.calls.exceptions import load_exception
from mrcore.model.task import MAX_PRINTED_BYTES, FailureKind, TaskOutput
from mrcore.plugin.nesting import NestedJobError
from mrcore.storage.registry import storage_for
from tests.support.supervised_worker import SupervisedWorker, in_house
from tests.support.worker_children import release

LOADED: list[int] = []


def loaded_times() -> tuple[int, int]:
    """Return the process, and how often this was called there."""
    LOADED.append(0)
    return os.getpid(), len(LOADED)


@in_house()
async def test_sessions_share_a_process_and_what_it_has_loaded(house: SupervisedWorker) -> None:
    objects = house.session("one")
    house.session("two", retries=3)
    call = objects.call(loaded_times)
    process_id, times = await house.value(house.make(call, "one"))
    assert times == 1
    assert await house.value(house.make(call, "two")) == (process_id, 2)
    assert process_id != os.getpid()
    house.supervisor.forget_job("one")
    assert await house.value(house.make(call, "two")) == (process_id, 3)
    # Another limit on memory is another kind of process; so is a job.
    house.session("large", memory_bytes=2 << 30)
    other, times = await house.value(house.make(call, "large"))
    assert times == 1
    house.job("import os\ndef map(key, value):\n    print(os.getpid())\n    return []\n")
    attempt = house.give()
    await house.result(attempt)
    assert len({process_id, other, int(house.log(attempt))}) == 3


@in_house()
async def test_what_a_call_prints_is_in_its_report_and_in_its_log(house: SupervisedWorker) -> None:
    def prints(lines: int) -> None:
        for line in range(lines):
            sys.stdout.write(f"{line}\n")
        sys.stderr.write("end\n")

    objects = house.session("calls")
    attempts = [house.make(objects.call(prints, lines)) for lines in (2, 10_000)]
    attempts.append(house.make(objects.call(len, "")))
    reports = [await house.result(attempt) for attempt in attempts]
    assert reports[0].printed == b"0\n1\nend\n"
    assert house.log(attempts[0]) == "0\n1\nend\n"
    whole = house.log(attempts[1]).encode()
    assert whole.startswith(b"0\n1\n")
    assert reports[1].printed == whole[-MAX_PRINTED_BYTES:]
    assert reports[2].printed == b""
    assert not house.log_path(attempts[2]).exists()


@in_house()
async def test_a_call_that_spoils_its_streams_does_not_spoil_those_of_later_calls(
    house: SupervisedWorker,
) -> None:
    def closes() -> None:
        sys.stdout.close()
        sys.stderr.close()

    def closes_descriptors() -> None:
        os.close(1)
        os.close(2)

    def replaces() -> None:
        sys.stdout = io.StringIO()
        sys.stderr = None

    def prints() -> int:
        sys.stdout.write("out\n")
        sys.stderr.write("error\n")
        os.write(1, b"descriptor\n")
        return os.getpid()

    objects = house.session("calls")
    process_id = await house.value(house.make(objects.call(os.getpid)))
    for spoils in (closes, closes_descriptors, replaces, closes):
        assert await house.value(house.make(objects.call(spoils))) is None
        attempt = house.make(objects.call(prints))
        assert await house.value(attempt) == process_id
        assert house.log(attempt) == "out\nerror\ndescriptor\n"


@in_house()
async def test_a_call_that_raises_leaves_its_process_alone(house: SupervisedWorker) -> None:
    def fails() -> None:
        sys.stdout.write("before\n")
        raise LookupError(os.getpid())

    objects = house.session("calls")
    failure = await house.failure(house.make(objects.call(fails)))
    assert (failure.kind, failure.died, failure.printed) == (FailureKind.USER, False, b"before\n")
    error = load_exception(failure.exception, failure.message, failure.traceback)
    assert isinstance(error, LookupError)
    assert await house.value(house.make(objects.call(os.getpid))) == error.args[0]


@in_house()
async def test_a_call_whose_process_dies_reports_how_and_what_it_had_printed(
    house: SupervisedWorker,
) -> None:
    def dies(how: str) -> None:
        sys.stdout.write("last words\n")
        if how == "crash":
            ctypes.string_at(0)
        os._exit(70)

    objects = house.session("calls")
    crashed = house.make(objects.call(dies, "crash"))
    failure = await house.failure(crashed)
    assert failure.message == (
        "the process of call 1 crashed with a segmentation fault (signal 11) without a traceback"
    )
    assert (failure.kind, failure.died) == (FailureKind.USER, True)
    assert failure.printed.startswith(b"last words\n")
    assert house.log(crashed).startswith("last words\n")
    failure = await house.failure(house.make(objects.call(dies, "exit")))
    assert failure.message == "the process of call 2 exited with status 70 without a traceback"


@in_house()
async def test_a_call_is_stopped_at_its_time_limit(house: SupervisedWorker) -> None:
    os.mkfifo(house.folder / "pipe")
    objects = house.session("calls", task_timeout_seconds=0.05)
    failure = await house.failure(house.make(objects.call(Path(house.folder / "pipe").read_text)))
    assert failure.message == (
        "call 1 ran longer than the 0.05 s that timeout= allows: give it more time, or leave "
        "timeout= out"
    )
    # As if the function had raised it: it counts against the retries of the call.
    assert (failure.kind, failure.died) == (FailureKind.USER, False)
    raised = load_exception(failure.exception, failure.message, failure.traceback)
    assert type(raised) is TimeoutError
    assert str(raised) == failure.message


@in_house()
async def test_a_call_is_stopped_at_its_memory_limit(house: SupervisedWorker) -> None:
    def grows(pipe: Path) -> int:
        data = b"x" * (512 << 20)
        pipe.read_text()  # until it is killed
        return len(data)

    os.mkfifo(house.folder / "pipe")
    objects = house.session("calls", memory_bytes=256 << 20)
    failure = await house.failure(house.make(objects.call(grows, house.folder / "pipe")))
    assert "MiB of the 256 MiB that a call may use: hold less at once" in failure.message


@in_house(slots=2)
async def test_a_call_that_waits_behind_a_long_one_moves_to_an_idle_process(
    house: SupervisedWorker,
) -> None:
    os.mkfifo(house.folder / "pipe")
    objects = house.session("calls")
    long = house.make(objects.call((house.folder / "pipe").read_text))
    await house.until(lambda: bool(list(house.supervisor.running())))
    short = [house.make(objects.call(len, "abc")) for _ in range(20)]
    for attempt in short:
        assert await house.value(attempt) == 3
    assert long not in house.results
    release(house)
    assert await house.value(long) == ""


@in_house()
async def test_a_call_cannot_start_a_cluster(house: SupervisedWorker) -> None:
    def nested() -> None:
        mrcore.run(inputs="x", output="out", map=len)

    objects = house.session("calls")
    failure = await house.failure(house.make(objects.call(nested)))
    assert failure.message.startswith("nested raised ")
    error = load_exception(failure.exception, failure.message, failure.traceback)
    assert isinstance(error, NestedJobError)


@in_house()
async def test_a_long_order_and_a_long_value_take_the_way_of_files(
    house: SupervisedWorker,
) -> None:
    objects = house.session("calls")
    attempt = house.make(objects.call(lambda text: text * 2, "z" * 60_000))
    result = await house.result(attempt)
    assert isinstance(result, TaskOutput)
    assert result.object is not None
    assert result.object.size_bytes > 120_000
    path = Path(result.object.uri.removeprefix("file://"))
    assert path == house.folder / "state/results/calls/call-00001@1.1"
    assert storage_for(result.object.uri).stat(result.object.uri).size_bytes > 120_000
