"""The launcher of daemons, with small programs as daemons; and its environment."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mrcore.engine import daemons
from mrcore.engine.daemons import UNKNOWN, Daemon, Launcher
from mrcore.engine.launched import daemon_environment
from mrcore.tasks.child import environment
from mrcore.tasks.child.environment import MARK, child_environment, launcher_environment
from mrcore.util.forks import ForkServerGoneError
from tests.support.waiting import wait_until

LOOK = """
import json, os, sys
print(json.dumps([
    sorted({*os.environ.items()} ^ {*json.loads(sys.argv[2]).items()}), os.getcwd(),
    sorted(os.listdir("/proc/self/fd"))[:-1],
    os.getsid(0) == os.getpid(), os.readlink("/proc/self/fd/0"),
]))
os.write(int(sys.argv[1]), b"hello")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def launcher(folder: Path) -> Iterator[Launcher]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SET_BEFORE", "1")
        started = Launcher(folder, 1 << 30)
    try:
        yield started
    finally:
        started.close()


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a daemon run the program that is its first argument."""

    def command(module: str, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-c", *arguments]

    monkeypatch.setattr(daemons, "daemon_command", command)


def start(launcher: Launcher, folder: Path, *arguments: str, fds: Sequence[int] = ()) -> Daemon:
    daemon = Daemon("worker", arguments, folder / f"{len(list(folder.iterdir()))}.log")
    daemon.start(launcher, folder, fds)
    return daemon


def test_a_daemon_has_its_own_session_folder_log_and_descriptors(
    launcher: Launcher, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SET_LATER", "1")
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as pipe:
        wanted = json.dumps(daemon_environment())
        daemon = start(launcher, folder, LOOK, str(writer), wanted, fds=[writer])
        os.close(writer)
        assert pipe.read() == b"hello", "nobody else holds the other end"
    wait_until(lambda: daemon.exit_code() == 0)
    others, cwd, descriptors, leads, stdin = json.loads(daemon.log_tail())
    assert {name for name, _ in others} <= {"LC_CTYPE"}  # Python may choose one
    assert [cwd, stdin] == [str(folder), "/dev/null"]
    assert leads
    assert len(descriptors) == 4
    daemon.wait_or_kill(0.0)


@pytest.mark.parametrize(
    ("program", "code"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -9)]
)
def test_the_end_of_a_daemon_is_known(
    launcher: Launcher, folder: Path, program: str, code: int
) -> None:
    daemon = start(launcher, folder, program)
    wait_until(lambda: daemon.exit_code() is not None)
    assert daemon.exit_code() == code
    with pytest.raises(ProcessLookupError):
        os.kill(daemon.process_id, 0)


def test_a_daemon_is_asked_to_leave_and_then_killed(launcher: Launcher, folder: Path) -> None:
    polite = start(launcher, folder, "import signal; signal.pause()")
    deaf = start(
        launcher,
        folder,
        "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); signal.pause()",
    )
    wait_until(lambda: deaf.log_tail() == "1")
    for daemon in (polite, deaf):
        daemon.terminate()
    polite.wait_or_kill(60.0)
    deaf.wait_or_kill(0.0)
    assert [polite.exit_code(), deaf.exit_code()] == [-signal.SIGTERM, -signal.SIGKILL]


def test_what_the_system_refuses_is_raised(
    launcher: Launcher, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon("worker", ["pass"], folder / "refused.log")
    daemon.start(launcher, folder, [2] * 4)  # more than a message may have
    daemon.terminate()
    daemon = Daemon("worker", ["pass"], folder / "refused.log")
    daemon.start(launcher, folder, [2] * 4)
    with pytest.raises(OSError, match="open files"):
        wait_until(lambda: daemon.exit_code() is not None)
    assert daemon.exit_code() == UNKNOWN
    monkeypatch.setenv("LONG", "x" * 100_000)
    with pytest.raises(OSError, match="too long"):
        start(launcher, folder, "pass")


def test_daemons_outlive_their_launcher(tmp_path: Path) -> None:
    launcher = Launcher(tmp_path, 1 << 30)
    try:
        daemon = start(launcher, tmp_path, "import signal; signal.pause()")
        os.kill(daemon.process_id, 0)
        os.kill(launcher._launched.process.pid, signal.SIGKILL)
        wait_until(lambda: launcher.is_gone)
        assert daemon.exit_code() is None
        with pytest.raises(ForkServerGoneError):
            start(launcher, tmp_path, "pass")
        daemon.kill()
        wait_until(lambda: daemon.exit_code() is not None)
        assert daemon.exit_code() == UNKNOWN
    finally:
        launcher.close()


def test_the_launcher_has_what_libraries_read_while_they_are_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = {"HOME": "/h", "OMP_NUM_THREADS": "3"}
    for bytes_of_slot in (64 << 20, 1 << 30):
        wanted = child_environment(mine, bytes_of_slot)
        began = launcher_environment(mine, bytes_of_slot, 20)
        assert began[MARK] == "-" * 20
        assert began["OMP_NUM_THREADS"] == "3"
        missing = {name for name in wanted if name not in began}
        assert missing <= {name for name in wanted if name.startswith("MALLOC_")}
        monkeypatch.setattr(environment, "_began_with", began)
        assert environment.suits_children(wanted)
        assert not environment.suits_children({**wanted, "PYTHONPATH": "/mine"})
    monkeypatch.setattr(environment, "_began_with", None)
    assert not environment.suits_children(wanted)
