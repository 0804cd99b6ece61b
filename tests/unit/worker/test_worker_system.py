"""A worker to which the system refuses files, space, descriptors or threads."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrcore.model.attempts import Assignment
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.task import FailureKind, Piece, Split, TaskOutput, TaskWork
from mrcore.tasks.child.environment import child_environment
from mrcore.worker.core.limits import DEFAULT, Limits
from mrcore.worker.shell.child_process import ChildProcess
from mrcore.worker.shell.descriptors import raise_descriptor_limit
from mrcore.worker.shell.orphans import Orphans
from tests.support.supervised_worker import SupervisedWorker, in_house
from tests.support.worker_children import fork_server

pytestmark = pytest.mark.timeout(60)

MAP = "def map(key, value):\n    yield value, 1\n"
NO_SPACE = "this worker cannot hand the task to its process: no space is left for temporary files"


def open_descriptors() -> set[int]:
    """Return the descriptors of this process."""
    listed = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
    return {number for number in listed if Path(f"/proc/self/fd/{number}").exists()}


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Let this process open `count` descriptors more."""
    taken = open_descriptors()
    free = (number for number in itertools.count() if number not in taken)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(free, count, None)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


WAITING = """
    def map(key, value):
        if value != "go":
            with open("{folder}/" + value) as pipe:
                pipe.read()
        yield value, 1
"""


@in_house()
async def test_a_full_disk_fails_the_attempt_and_not_the_worker(house: SupervisedWorker) -> None:
    house.job(MAP)
    full = house.folder / "scratch/jobs/.job"
    full.symlink_to("/dev/full")
    failure = await house.failure(house.give())
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert failure.message == (
        f"{NO_SPACE} below {house.folder}/scratch: free some, or start the worker with another "
        "--scratch"
    )
    full.unlink()
    assert isinstance(await house.result(house.give()), TaskOutput)


@in_house()
async def test_a_long_order_that_finds_no_space_spares_the_next(house: SupervisedWorker) -> None:
    house.job(MAP)
    attempt = AttemptId(TaskId("job", 0, 7), AttemptNumber(1, 7))
    (house.folder / "scratch/job-0-7@1.7.order").symlink_to("/dev/full")
    piece = Piece("file:///gone-" + "x" * 200, "gone", 0, 1, 1, "1")
    house.supervisor.enqueue(Assignment(attempt, 0, TaskWork(Split((piece,) * 1000), 0)))
    after = house.give()
    assert (await house.failure(attempt)).message.startswith(NO_SPACE)
    assert isinstance(await house.result(after), TaskOutput)


@in_house()
async def test_a_job_that_is_swept_away_before_it_is_read_fails_the_attempt_only(
    house: SupervisedWorker,
) -> None:
    house.job(MAP)
    house.supervisor.prestart()
    (child,) = house.supervisor._children
    os.kill(child.process_id, signal.SIGSTOP)
    attempt = house.give()
    (house.folder / "scratch/jobs/job").unlink()
    os.kill(child.process_id, signal.SIGCONT)
    failure = await house.failure(attempt)
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert failure.message.startswith("a temporary file below ")
    assert isinstance(await house.result(house.give()), TaskOutput)


@in_house()
async def test_an_order_that_is_swept_away_before_it_is_read_fails_the_attempt_only(
    house: SupervisedWorker,
) -> None:
    house.job(MAP)
    assert isinstance(await house.result(house.give()), TaskOutput)
    (child,) = house.supervisor._children
    os.kill(child.process_id, signal.SIGSTOP)
    attempt = AttemptId(TaskId("job", 0, 7), AttemptNumber(1, 7))
    piece = Piece("file:///gone-" + "x" * 200, "gone", 0, 1, 1, "1")
    house.supervisor.enqueue(Assignment(attempt, 0, TaskWork(Split((piece,) * 1000), 0)))
    house.supervisor.dispatch()
    (house.folder / "scratch/job-0-7@1.7.order").unlink()
    os.kill(child.process_id, signal.SIGCONT)
    failure = await house.failure(attempt)
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert failure.message.startswith("a temporary file below ")
    assert isinstance(await house.result(house.give()), TaskOutput)
    assert house.supervisor._children == [child]


@in_house(slots=2)
async def test_folders_that_were_swept_away_are_made_anew(house: SupervisedWorker) -> None:
    house.job(WAITING.format(folder=house.folder))
    os.mkfifo(house.folder / "pipe")
    running = house.give("pipe\n")
    writers: list[int] = []

    def is_read() -> bool:
        with contextlib.suppress(OSError):  # nobody has opened it to read
            writers.append(os.open(house.folder / "pipe", os.O_WRONLY | os.O_NONBLOCK))
        return bool(writers)

    # An attempt that runs may still have to read its job, which lies in the folder.
    await house.until(is_read)
    # Not removed file by file: a child may be making its folder meanwhile.
    (house.folder / "scratch").rename(house.folder / "swept")
    assert isinstance(await house.result(house.give("go\n")), TaskOutput)
    os.close(writers[0])
    assert isinstance(await house.result(running), TaskOutput)
    assert isinstance(await house.result(house.give("go\n")), TaskOutput)


@in_house(limits=Limits(restart_seconds=0.01))
async def test_too_few_descriptors_fail_attempts_with_the_cause(house: SupervisedWorker) -> None:
    house.job(MAP)
    house.supervisor.close()
    with descriptors_left(3):
        failure = await house.failure(house.give())
    assert failure.kind is FailureKind.INFRASTRUCTURE
    assert failure.message == (
        "this worker cannot start the processes that run tasks: the limit of open files is "
        "reached: use fewer --slots, or raise the limit (ulimit -n, or LimitNOFILE= of systemd)"
    )
    assert isinstance(await house.result(house.give()), TaskOutput)


@in_house(slots=2, limits=Limits(restart_seconds=0.01))
async def test_attempts_wait_while_others_run_and_no_child_can_start(
    house: SupervisedWorker,
) -> None:
    house.job(WAITING.format(folder=house.folder))
    os.mkfifo(house.folder / "pipe")
    first = house.give("pipe\n")
    await house.until(lambda: bool(list(house.supervisor.running())))
    (idle,) = [child for child in house.supervisor._children if not child.sent]
    with descriptors_left(1):
        idle.kill()
        await house.until(house.supervisor._starts.hopeless)
        second = house.give("go\n")
        house.supervisor._tick()
        assert house.results == {}, "the running one may be what takes all"
    (house.folder / "pipe").write_text("")
    assert isinstance(await house.result(first), TaskOutput)
    assert isinstance(await house.result(second), TaskOutput)


@in_house()
async def test_a_log_that_cannot_be_stored_costs_no_more_than_the_log(
    house: SupervisedWorker,
) -> None:
    def no_threads(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    house.supervisor._log_tails._store_log = no_threads
    house.job("import os\ndef map(key, value):\n    print('x')\n    os._exit(3)\n")
    assert "exited with status 3" in (await house.failure(house.give())).message


def test_a_start_folder_that_was_removed_fails_no_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @in_house()
    async def run(house: SupervisedWorker) -> None:
        house.job(MAP)
        house.supervisor.prestart()
        (tmp_path / "start").rmdir()
        assert isinstance(await house.result(house.give()), TaskOutput)
        house.job(MAP, "next")
        assert isinstance(await house.result(house.give(job_id="next")), TaskOutput)

    (tmp_path / "start").mkdir()
    monkeypatch.chdir(tmp_path / "start")
    run(tmp_path)


def test_a_worker_is_not_started_in_a_folder_that_was_removed(tmp_path: Path) -> None:
    code = "import os, sys; os.rmdir(os.getcwd()); from mrcore.worker.main import main; main([])"
    command = [sys.executable, "-P", "-c", code]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith("mrcore worker: the current folder was deleted")


def test_a_child_that_cannot_be_started_leaves_nothing_open(tmp_path: Path) -> None:
    refused = 0
    with fork_server(tmp_path) as server:
        before, files = open_descriptors(), list(tmp_path.iterdir())
        while True:
            with descriptors_left(refused):
                try:
                    child = ChildProcess(tmp_path, server, 1, DEFAULT, Orphans())
                    break
                except OSError:
                    refused += 1
            assert open_descriptors() == before
            assert list(tmp_path.iterdir()) == files
        child.kill()
        child.reap()
        child.close()
        assert refused > 5, "each step was refused once"
        assert open_descriptors() == before


def test_the_limit_of_open_files_is_raised_to_what_the_slots_need() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        raise_descriptor_limit(1)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (266, hard)
        raise_descriptor_limit(100)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (1256, hard)
        raise_descriptor_limit(50)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (1256, hard), "never lowered"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_slots_than_the_hard_limit_allows_are_refused() -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300));"
        "from mrcore.worker.main import main; main(['--master', 'x:1', '--slots', '100'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, text=True
    )
    assert ended.returncode == 2
    assert "100 slots need 756 open files, and this process may have 300" in ended.stderr


def test_a_child_that_cannot_be_killed_does_not_keep_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house = SupervisedWorker(tmp_path, limits=Limits(close_seconds=0.01))
    house.await_server()
    (child,) = house.supervisor._children
    monkeypatch.setattr(child, "kill", lambda: None)  # as where the system holds it
    house.supervisor.close()
    assert f"process {child.process_id} cannot be killed: it is left behind" in caplog.text
    with contextlib.suppress(ProcessLookupError, ChildProcessError):  # without orders it ends
        os.kill(child.process_id, signal.SIGKILL)
        os.waitpid(child.process_id, 0)


def test_libraries_start_no_more_threads_than_a_slot_has_cores() -> None:
    names = {"POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"}
    found = child_environment({"OMP_NUM_THREADS": "3"}, 1 << 30)
    assert {name: found.get(name) for name in names} == {
        **dict.fromkeys(names, "1"),
        "OMP_NUM_THREADS": "3",
    }
