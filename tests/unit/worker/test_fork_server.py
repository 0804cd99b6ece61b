"""The process that forks children: what they inherit, and what happens when it is gone."""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mrcore.model.task import TaskOutput
from mrcore.util.forks import ForkServerGoneError
from mrcore.util.proc import descendants
from tests.support.supervised_worker import SupervisedWorker, alive, in_house
from tests.support.worker_children import child_request, fork_server, release, waiting

pytestmark = pytest.mark.timeout(120)

DRAWS = """
    import os, random, ssl, tempfile, uuid
    import numpy
    def map(key, value):
        print(os.getpid(), random.random(), numpy.random.random(),
              numpy.random.default_rng().random(),
              uuid.uuid4(), uuid.uuid1(), ssl.RAND_bytes(8).hex(), os.urandom(8).hex(),
              next(tempfile._get_candidate_names()))
        yield value, 1
"""

LOOKS = """
    import ctypes, faulthandler, gc, json, locale, logging, os, resource, signal, stat, sys
    import threading
    def shape(number):
        info = os.stat(f"/proc/self/fd/{number}")
        inherited = os.get_inheritable(number) if number > 2 else None
        return [stat.S_IFMT(info.st_mode), str(inherited)]
    def death_signal():
        number = ctypes.c_int()
        ctypes.CDLL(None).prctl(2, ctypes.byref(number), 0, 0, 0)
        return number.value
    def status(name):
        lines = open("/proc/self/status").read().splitlines()
        return [line.split()[1] for line in lines if line.startswith(name)]
    def standard_signals(name):
        return [int(mask, 16) & 0xffffffff for mask in status(name)]  # not those of threads
    def map(key, value):
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
        numbers = sorted(n for n in numbers if os.path.exists(f"/proc/self/fd/{n}"))
        command = open("/proc/self/cmdline").read().rstrip("\\0").split("\\0")
        print(json.dumps({
            "environment": {k: v for k, v in os.environ.items() if k != "MRCORE_CHILD"},
            "mark": open("/proc/self/environ").read().count(os.environ["MRCORE_CHILD"]),
            "descriptors": sorted([shape(n) for n in numbers]),
            "standard": [os.readlink(f"/proc/self/fd/{n}") for n in (0, 1, 2)][:1],
            "cwd": os.getcwd(), "umask": os.umask(0o22), "nice": os.nice(0),
            "group": os.getpgrp() == os.getpid(), "session": os.getsid(0), "parent": os.getppid(),
            "signals": [standard_signals(name) for name in ("SigBlk", "SigIgn", "SigCgt")],
            "handlers": [str(signal.getsignal(n)) for n in signal.valid_signals()],
            "limits": [resource.getrlimit(n) for n in range(16)],
            "death": death_signal(),
            "score": open("/proc/self/oom_score_adj").read(),
            "argv": sys.argv[:1] + sys.argv[4:], "argv count": len(sys.argv),
            "command": command[:4] + command[7:], "command count": len(command),
            "own command": sys.orig_argv == command,
            "path": [path for path in sys.path if "/plugins/" not in path],
            "flags": str(sys.flags),
            "main": sorted(vars(sys.modules["__main__"])),
            "main is ours": "mrcore.tasks.child.main" in sys.modules,
            "streams": [[s.encoding, s.errors, s.line_buffering, s.fileno(), s.isatty()]
                        for s in (sys.stdout, sys.stderr)],
            "faults": faulthandler.is_enabled(), "logging": len(logging.getLogger().handlers),
            "gc": [gc.isenabled(), gc.get_threshold()], "hash": hash("x"),
            "locale": locale.setlocale(locale.LC_ALL), "live": threading.active_count(),
        }))
        yield value, 1
"""

THREAD = """
import os, sys, threading
if os.path.exists({flag!r}) and any("fork_server" in word for word in sys.orig_argv):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""

FORKS = """
    import os, signal
    def map(key, value):
        if os.fork():
            while not os.path.exists(value):
                pass
            return []
        os.setsid()
        if os.fork():
            os._exit(0)
        with open(value + ".draft", "w") as flag:
            flag.write(str(os.getpid()))
        os.rename(value + ".draft", value)
        signal.pause()
"""


def server_of(house: SupervisedWorker) -> int:
    """Return the id of the fork server of a house."""
    (process_id,) = house.supervisor._starter.process_ids()
    return process_id


async def look(house: SupervisedWorker, job_id: str) -> Any:
    """Return what a new child sees of itself."""
    house.job(LOOKS, job_id)
    attempt = house.give(job_id=job_id)
    assert isinstance(await house.result(attempt), TaskOutput)
    return json.loads(house.log(attempt))


@in_house()
async def test_children_draw_different_random_numbers(house: SupervisedWorker) -> None:
    drawn = []
    for name in "ab":
        house.job(DRAWS, name)
        attempt = house.give(job_id=name)
        assert isinstance(await house.result(attempt), TaskOutput)
        drawn.append(house.log(attempt).split())
    assert len(drawn[0]) == 9
    assert all(one != other for one, other in zip(*drawn, strict=True)), drawn


@in_house()
async def test_the_fork_server_has_one_thread_and_few_descriptors(house: SupervisedWorker) -> None:
    process = Path(f"/proc/{server_of(house)}")
    house.job("def map(key, value):\n    yield value, 1\n")
    assert isinstance(await house.result(house.give()), TaskOutput)
    assert len(list((process / "task").iterdir())) == 1
    assert len(list((process / "fd").iterdir())) == 4, "standard ones, and the channel"


def test_a_fork_looks_as_a_process_that_was_started_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = tmp_path / "flag"
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(THREAD.format(flag=str(flag)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))

    @in_house()
    async def test(house: SupervisedWorker) -> None:
        forked = await look(house, "forked")
        flag.touch()  # with a thread in the fork server each child is a program of its own
        os.kill(server_of(house), signal.SIGKILL)
        assert await look(house, "started") == forked
        assert forked["mark"] == 1

    (tmp_path / "house").mkdir()
    test(tmp_path / "house")


@in_house(slots=2)
async def test_a_fork_server_that_was_killed_is_started_again_and_its_children_go_on(
    house: SupervisedWorker,
) -> None:
    waiting(house)
    running = house.give("wait\n")
    await house.until(lambda: bool(list(house.supervisor.running())))
    first = server_of(house)
    os.kill(first, signal.SIGKILL)
    await house.until(lambda: house.supervisor._starter.process_ids() not in ({first}, set()))
    await house.until(house.supervisor._starter.may_start)
    assert server_of(house) != first
    for name in "abc":
        house.job("def map(key, value):\n    yield value, 1\n", name)
        assert isinstance(await house.result(house.give(job_id=name)), TaskOutput)
    release(house)
    assert isinstance(await house.result(running), TaskOutput)


@in_house()
async def test_a_fork_that_has_left_its_child_ends_with_it(house: SupervisedWorker) -> None:
    house.job(FORKS)
    flag = house.folder / "flag"
    assert isinstance(await house.result(house.give(f"{flag}\n")), TaskOutput)
    left = int(flag.read_text())
    (child,) = house.supervisor._children
    await house.until(lambda: left in child._family())
    house.supervisor._tick()
    assert alive(left), "its child may need it for the next attempt"
    child.kill()
    await house.until(lambda: not alive(left))


def test_a_fork_server_without_descriptors_refuses_a_child(tmp_path: Path) -> None:
    request = child_request(tmp_path)
    with fork_server(tmp_path) as server, (tmp_path / "log").open("w") as log:
        assert server.process_id is not None
        descriptors = (log.fileno(),) * 4
        limits = resource.prlimit(server.process_id, resource.RLIMIT_NOFILE)
        for limit in range(3, 9):  # none is free, and then up to five
            resource.prlimit(server.process_id, resource.RLIMIT_NOFILE, (limit, limits[1]))
            with pytest.raises(OSError, match="open files") as refused:
                server.fork(request, descriptors)
            assert refused.value.errno == errno.EMFILE
        assert len(list(Path(f"/proc/{server.process_id}/fd").iterdir())) == 4
        resource.prlimit(server.process_id, resource.RLIMIT_NOFILE, limits)
        child = server.fork(request, descriptors)
        assert os.getpgid(child) == child
        os.waitpid(child, 0)


def test_a_fork_server_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    request = child_request(tmp_path)
    with fork_server(tmp_path, answer_seconds=0.01) as server, (tmp_path / "log").open("w") as log:
        assert server.process_id is not None
        os.kill(server.process_id, signal.SIGSTOP)
        with pytest.raises(ForkServerGoneError):
            server.fork(request, (log.fileno(),) * 4)
        assert not server.is_ready


AGENT = r"""
import asyncio, sys
from pathlib import Path
from tests.support.supervised_worker import SupervisedWorker
house = SupervisedWorker(Path(sys.argv[1]))
house.job("import signal\ndef map(key, value):\n    signal.pause()\n")
house.give()
async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(house.supervisor.run(house))
        await house.until(lambda: list(house.supervisor.running()))
        print("running", flush=True)
asyncio.run(main())
"""


def test_children_die_with_their_agent(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", AGENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == "running\n"
        started = descendants(agent.pid)
        assert len(started) == 2, "the child and the fork server"
        exit_descriptors = [os.pidfd_open(process_id) for process_id in started]
        agent.send_signal(signal.SIGKILL)
        for descriptor in exit_descriptors:
            assert select.select([descriptor], [], [], 30.0)[0], "one outlived its agent"
            os.close(descriptor)
