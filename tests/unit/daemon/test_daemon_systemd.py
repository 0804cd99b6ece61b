"""Messages of a daemon to systemd, read from the socket as systemd reads it."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from mrcore.daemon.systemd import Notifier
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.daemon import _Life
from mrcore.master.options import Options
from mrcore.master.shell.journal import Journal
from mrcore.storage.memory import MemoryStorage
from tests.support.fake_clock import FakeClock


@pytest.fixture
def manager() -> Iterator[tuple[socket.socket, str]]:
    """The socket of a service manager, and its address."""
    # Not tmp_path: the path of a socket has to be short.
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line,
    ):
        path = str(Path(folder) / "notify")
        line.bind(path)
        line.setblocking(False)
        yield line, path


def test_states_go_in_one_message(manager: tuple[socket.socket, str]) -> None:
    line, path = manager
    Notifier({"NOTIFY_SOCKET": path}).send(READY=1, STATUS="serves at 127.0.0.1:7077")
    assert line.recv(4096) == b"READY=1\nSTATUS=serves at 127.0.0.1:7077"


def test_a_socket_without_a_file_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(f"\0mrcore-test-{os.getpid()}")
        line.setblocking(False)
        Notifier({"NOTIFY_SOCKET": f"@mrcore-test-{os.getpid()}"}).send(STOPPING=1)
        assert line.recv(4096) == b"STOPPING=1"


def test_children_do_not_inherit_the_line(manager: tuple[socket.socket, str]) -> None:
    environment = {
        "NOTIFY_SOCKET": manager[1],
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    notifier = Notifier(environment)
    assert environment == {"HOME": "/"}
    assert notifier.watchdog_seconds == 30.0


def test_the_watchdog_of_another_process_is_not_ours() -> None:
    environment = {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}
    assert Notifier(environment).watchdog_seconds is None


def test_a_manager_that_is_gone_or_full_does_no_harm(manager: tuple[socket.socket, str]) -> None:
    line, path = manager
    notifier = Notifier({"NOTIFY_SOCKET": path})
    for number in range(10_000):  # far beyond what the socket holds: none of these blocks
        notifier.send(STATUS=number)
    assert line.recv(4096) == b"STATUS=0"
    line.close()
    notifier.send(READY=1)


def test_an_unhealthy_daemon_gives_no_sign_of_life(manager: tuple[socket.socket, str]) -> None:
    line, path = manager
    looks: list[bool] = []

    def healthy() -> bool:
        looks.append(len(looks) >= 3)
        return looks[-1]

    async def run() -> bytes:
        notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3000"})
        task = asyncio.ensure_future(notifier.watch(healthy, lambda: "fine"))
        try:
            async with asyncio.timeout(20):
                return await asyncio.get_running_loop().sock_recv(line, 4096)
        finally:
            task.cancel()

    assert asyncio.run(run()) == b"STATUS=fine\nWATCHDOG=1"
    assert looks[:4] == [False, False, False, True]


def test_nothing_is_watched_where_nobody_listens() -> None:
    async def run() -> None:
        await Notifier({}).watch(lambda: pytest.fail("looked"), lambda: "")

    asyncio.run(run())
    Notifier({}).send(READY=1)


def test_a_long_start_gets_more_time_as_long_as_it_makes_progress(
    manager: tuple[socket.socket, str],
) -> None:
    line, path = manager
    notifier = Notifier({"NOTIFY_SOCKET": path})
    for now in (7.0, 8.0, 11.9, 12.0):
        notifier.starting(f"step {now}", now)
    assert [line.recv(4096) for _ in range(2)] == [
        b"STATUS=step 7.0\nEXTEND_TIMEOUT_USEC=300000000",
        b"STATUS=step 12.0\nEXTEND_TIMEOUT_USEC=300000000",
    ]
    with pytest.raises(BlockingIOError):
        line.recv(4096)


def test_the_replay_of_a_journal_is_progress_of_the_start(
    manager: tuple[socket.socket, str],
) -> None:
    line, path = manager
    options = Options(state_uri="mem://space/state", host="127.0.0.1", port=0)
    life = _Life(options, Notifier({"NOTIFY_SOCKET": path}))
    journal = Journal(MemoryStorage(), "mem://space/state", "w", FakeClock())
    life._replay(Machine(Limits(), Random(0)), journal)
    assert line.recv(4096).startswith(b"STATUS=replays the journal: entry 1\nEXTEND_TIMEOUT_USEC=")
