"""The embedded cluster's care for its processes, with small shell scripts as daemons."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from mrcore.engine import daemons, embedded
from mrcore.engine.daemons import daemon_command
from mrcore.engine.embedded import EmbeddedCluster
from mrcore.engine.launched import daemon_environment
from mrcore.errors import MrcoreError
from tests.support.waiting import wait_until

LIVES = "echo living; echo ready >&$ready; exec sleep 60"


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Run shell scripts in place of the daemons; `$ready` is the master's ready descriptor."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    found = {"master": LIVES, "worker": "exec sleep 60"}

    def command(module: str, arguments: Sequence[str]) -> list[str]:
        options = dict(zip(arguments[::2], arguments[1::2], strict=True))
        ready = options.get("--ready-fd", "1")
        return ["bash", "-c", f"ready={ready}; {found[module]}", *arguments]

    monkeypatch.setattr(daemons, "daemon_command", command)
    return found


def cluster(
    tmp_path: Path, workers: int = 2, slots: int = 1, memory_bytes: int = 0
) -> EmbeddedCluster:
    return EmbeddedCluster(workers=workers, slots=slots, memory_bytes=memory_bytes, cwd=tmp_path)


def arguments_of(process_id: int) -> list[str]:
    """Return the arguments of a daemon, once its process has become the daemon."""

    def arguments() -> list[str]:
        return Path(f"/proc/{process_id}/cmdline").read_text().split("\0")

    wait_until(lambda: "--state" in arguments())
    return arguments()


def is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def test_all_daemons_stop_at_the_end(tmp_path: Path, scripts: dict[str, str]) -> None:
    with cluster(tmp_path) as running:
        process_ids = running.process_ids()
        assert len(process_ids) == 3
        assert all(map(is_alive, process_ids))
        assert len({os.getsid(process_id) for process_id in process_ids}) == 3
        (running.folder.path / "scratch").mkdir()
    assert not any(map(is_alive, process_ids))
    assert not (running.folder.path / "scratch").exists()
    assert (running.folder.path / "master.log").exists()


def test_daemon_that_ignores_sigterm_is_killed(tmp_path: Path, scripts: dict[str, str]) -> None:
    scripts["worker"] = "trap '' TERM; echo deaf; while :; do sleep 0.05; done"
    running = cluster(tmp_path, workers=1).__enter__()
    log = running.folder.path / "worker-1.log"
    wait_until(lambda: "deaf" in log.read_text())
    process_ids = running.process_ids()
    running.close(stop_seconds=0.1)
    assert not any(map(is_alive, process_ids))


def test_of_what_a_master_printed_its_error_alone_is_quoted(
    tmp_path: Path, scripts: dict[str, str]
) -> None:
    scripts["master"] = "echo starting; echo 'mrcore master: No space is left.'; exit 1"
    with (
        pytest.raises(MrcoreError, match=r"^The embedded .* exit code 1: No space is left\.$"),
        cluster(tmp_path) as running,
    ):
        running.credentials()


def test_master_that_dies_at_its_start_is_quoted(tmp_path: Path, scripts: dict[str, str]) -> None:
    scripts["master"] = "echo 'the disk is on fire' >&2; exit 7"
    with (
        pytest.raises(MrcoreError, match=r"exit code 7; it printed:\nthe disk is on fire"),
        cluster(tmp_path) as running,
    ):
        running.credentials()


def test_silent_death_is_told_too(tmp_path: Path, scripts: dict[str, str]) -> None:
    scripts["master"] = "kill -9 $$"
    with (
        pytest.raises(MrcoreError, match=r"was killed by signal 9 and printed nothing\."),
        cluster(tmp_path) as running,
    ):
        running.credentials()


def test_dead_workers_are_started_again_but_not_for_ever(
    tmp_path: Path, scripts: dict[str, str]
) -> None:
    scripts["worker"] = "echo again; exit 1"
    with cluster(tmp_path, workers=1) as running:
        log = running.folder.path / "worker-1.log"
        with pytest.raises(MrcoreError, match="The embedded worker ended with exit code 1"):
            wait_until(running.restart_dead)
        assert log.read_text() == "again\n" * 4


def test_slots_share_the_memory_of_the_machine(
    tmp_path: Path, scripts: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrcore.util.host.memory_bytes", lambda: 10_000)
    # The shell needs a moment to become what it will run, and shows its arguments until then.
    scripts["worker"] = scripts["master"] = "while :; do sleep 0.05; done"
    with cluster(tmp_path, workers=2, slots=3) as running:
        master, worker = running.process_ids()[:2]
        wanted = ("--memory", "1000"), ("--slots", "3"), ("--expect-slots", "6")
        found = [*arguments_of(worker), *arguments_of(master)]
        for name, value in wanted:
            assert found[found.index(name) + 1] == value
    with cluster(tmp_path, workers=2, memory_bytes=77) as running:
        found = arguments_of(running.process_ids()[1])
        assert found[found.index("--memory") + 1] == "77"


def test_python_path_reaches_children_only() -> None:
    environment = daemon_environment({"PYTHONPATH": "/mine", "HOME": "/h"})
    assert environment == {"MRCORE_CHILD_PYTHONPATH": "/mine", "HOME": "/h"}
    assert daemon_environment({"HOME": "/h"}) == {"HOME": "/h"}
    assert daemon_command("worker", ["--x"])[1:] == ["-P", "-m", "mrcore.worker", "--x"]


def test_a_daemon_that_cannot_be_killed_is_left_behind(
    tmp_path: Path, scripts: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "STOP_SECONDS", 0.01)
    scripts["worker"] = "trap '' TERM; echo up; sleep 600"
    with cluster(tmp_path, workers=1) as running:
        worker = running._workers[0]
        wait_until(lambda: (running.folder.path / "worker-1.log").read_text() == "up\n")
        process_id = worker.process_id
        monkeypatch.setattr(worker, "kill", lambda: None)  # as where the system holds it
    assert is_alive(process_id)
    os.killpg(process_id, signal.SIGKILL)
