"""Processes that user code started: they end with its own, and their memory is counted once."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mrcore.model.task import TaskOutput
from mrcore.util.proc import proportional_bytes, resident_bytes
from mrcore.worker.shell.scratch import sweep
from tests.support.orphan_job import JOB
from tests.support.supervised_worker import SupervisedWorker, alive, in_house

pytestmark = pytest.mark.timeout(60)


def helper_of(flag: Path) -> int:
    """Return the process that wrote this flag."""
    return int(flag.read_text())


@in_house()
async def test_what_a_crashed_attempt_has_started_ends_with_it(house: SupervisedWorker) -> None:
    house.job(JOB)
    flag = house.folder / "crash"
    failure = await house.failure(house.give(f"{flag}\n"))
    assert "segmentation fault" in failure.message
    await house.until(lambda: not alive(helper_of(flag)))


@in_house()
async def test_helpers_live_as_long_as_their_child(house: SupervisedWorker) -> None:
    house.job(JOB)
    first, second = house.folder / "first", house.folder / "second"
    assert isinstance(await house.result(house.give(f"{first}\n")), TaskOutput)
    (child,) = house.supervisor._children
    house.supervisor._tick()
    assert alive(helper_of(first)), "its child may need it for the next attempt"
    assert helper_of(first) in child._family()
    assert isinstance(await house.result(house.give(f"{second}\n")), TaskOutput)
    child.kill()
    await house.until(lambda: not alive(helper_of(first)) and not alive(helper_of(second)))


@in_house()
async def test_dead_orphans_are_collected(house: SupervisedWorker) -> None:
    house.job(JOB)
    flag = house.folder / "first"
    assert isinstance(await house.result(house.give(f"{flag}\n")), TaskOutput)
    os.kill(helper_of(flag), signal.SIGKILL)
    await house.until(lambda: not Path(f"/proc/{helper_of(flag)}").exists())


AGENT = """
import asyncio, sys
from pathlib import Path
from tests.support.supervised_worker import SupervisedWorker
from tests.support.orphan_job import JOB
house = SupervisedWorker(Path(sys.argv[1]))
house.job(JOB)
house.give(sys.argv[1] + "/stay\\n")
async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(house.supervisor.run(house))
        await house.until((house.folder / "stay").exists)
        print("running", flush=True)
asyncio.run(main())
"""


def test_what_a_killed_worker_has_left_ends_when_the_next_one_starts(tmp_path: Path) -> None:
    folder = tmp_path / "worker-1-dead"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", AGENT, str(folder)], stdout=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == "running\n"
        helper = helper_of(folder / "stay")
        agent.send_signal(signal.SIGKILL)
    exit_descriptor = os.pidfd_open(helper)
    assert alive(helper), "nobody was left to end it"
    sweep(tmp_path)
    assert select.select([exit_descriptor], [], [], 30.0)[0]
    os.close(exit_descriptor)
    assert not folder.exists()


@in_house()
async def test_memory_that_forks_share_is_counted_once(house: SupervisedWorker) -> None:
    house.job(
        """
        import os, signal
        def map(key, value):
            shared = bytearray(b"x") * (150 << 20)
            forks = []
            for _ in range(3):
                reader, writer = os.pipe()
                if not (fork := os.fork()):
                    os.write(writer, b"x")
                    signal.pause()
                os.read(reader, 1)
                forks.append(fork)
            with open(value) as pipe:
                pipe.read()
            for fork in forks:
                os.kill(fork, 9)
            return []
        """,
        memory_bytes=400 << 20,
    )
    pipe = house.folder / "pipe"
    os.mkfifo(pipe)
    attempt = house.give(f"{pipe}\n")
    await house.until(lambda: len(house.processes()) == 4)
    assert sum(map(resident_bytes, house.processes())) > 600 << 20
    house.supervisor._tick()
    assert sum(map(proportional_bytes, house.processes())) < 400 << 20
    pipe.write_text("")
    assert isinstance(await house.result(attempt), TaskOutput)


@in_house()
async def test_memory_of_what_user_code_has_started_counts(house: SupervisedWorker) -> None:
    house.job(
        """
        import signal, subprocess, sys
        def map(key, value):
            hog = "import signal; x = bytearray(b'x') * (300 << 20); signal.pause()"
            subprocess.run([sys.executable, "-c", hog])
        """,
        memory_bytes=300 << 20,
    )
    failure = await house.failure(house.give())
    assert "MiB of the 300 MiB that --memory allows a slot" in failure.message
