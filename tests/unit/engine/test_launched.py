"""The launcher that a command starts ahead of its own imports."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence

import pytest

from mrcore.engine import launched, launcher
from mrcore.engine.launched import daemon_environment
from mrcore.tasks.child.environment import MARK, launcher_environment
from mrcore.util import host

GIB = 1 << 30
RUN = ("run", "wc.py", "in", "-o", "out")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "memory_bytes", lambda: 20 * GIB)
    monkeypatch.setattr(host, "cores", lambda: 4)
    monkeypatch.delenv("MRCORE_MASTER", raising=False)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Return the environments with which launchers would have been started."""
    environments: list[dict[str, str]] = []

    def refuse(environment: dict[str, str], prefix: Sequence[str] = ()) -> launched.Launched:
        environments.append(environment)
        raise OSError("this machine has no room for a process")

    monkeypatch.setattr(launched, "launch", refuse)
    return environments


@pytest.mark.parametrize(
    ("words", "starts_one"),
    [
        (RUN, True),
        ((*RUN, "--masters", "2"), True),
        ((*RUN, "--memory=1GiB", "-w2"), True),
        (("submit", *RUN[1:]), False),
        (("run", "--help"), False),
        ((*RUN, "-h"), False),
        ((*RUN, "--master", "host:1"), False),
        ((*RUN, "--state=gs://bucket/state"), False),
        ((*RUN, "--engine", "inline"), False),
        ((*RUN, "-w", "many"), False),
        ((*RUN, "--memory"), False),
    ],
)
def test_a_launcher_is_started_for_jobs_on_this_machine(
    starts: list[dict[str, str]], words: Sequence[str], starts_one: bool
) -> None:
    launched.launch_early(words)
    assert bool(starts) is starts_one


def test_none_is_started_for_a_cluster_or_in_place_of_a_standard_stream(
    starts: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MRCORE_MASTER", "host:1")
    launched.launch_early(RUN)
    monkeypatch.delenv("MRCORE_MASTER")
    status = os.fstat

    def closed(number: int) -> os.stat_result:
        return status(number if number != 1 else -1)

    monkeypatch.setattr(os, "fstat", closed)
    launched.launch_early(RUN)
    assert not starts


@pytest.mark.parametrize(
    ("options", "slot_bytes"),
    [
        ((), 3 * GIB),
        (("-w", "2"), 6 * GIB),
        (("-w3", "--slots", "8"), GIB // 2),
        (("--workers=1", "--slots=24"), GIB // 2),
        (("--memory", "256MiB", "--memory", "2GiB"), 2 * GIB),
        (("--memory=256MiB",), GIB // 4),
    ],
)
def test_its_environment_is_that_of_the_parsed_options(
    starts: list[dict[str, str]], options: Sequence[str], slot_bytes: int
) -> None:
    launched.launch_early((*RUN, *options))
    wanted = launcher_environment(daemon_environment(), slot_bytes, 200)
    assert launched.suits(starts[0], wanted)
    other = launcher_environment(daemon_environment(), GIB if slot_bytes < GIB else 1, 200)
    assert not launched.suits(starts[0], other)
    assert not launched.suits(starts[0], {**wanted, "MORE": "1"})
    assert not launched.suits(starts[0], {**wanted, MARK: "-" * 2_000}), "it would be cut short"


def test_the_launcher_serves_who_wants_its_environment_alone() -> None:
    launched.launch_early(RUN)
    wanted = launcher_environment(daemon_environment(), GIB, 100)
    found = launched.take(wanted)
    assert found is not None
    try:
        launched.end_early()
        assert launched.take(wanted) is None, "it has an owner"
        assert found.process.poll() is None
    finally:
        found.close()
    launched.launch_early(RUN)
    early = launched._early.launched
    assert early is not None
    assert launched.take({**wanted, "MORE": "1"}) is None
    assert early.process.returncode is not None


MAIN = """
import sys
from mrcore.engine import launched
class Started:
    def close(self): print("ended")
def launch(environment):
    heavy = {'click', 'msgspec', 'grpc', 'pyarrow', 'numpy', 'asyncio', 'logging', 'mrcore.cli'}
    print(sorted(heavy & set(sys.modules)))
    return Started()
launched.launch = launch
sys.argv = ['mrcore', 'run', 'nowhere.py', 'in', '-o', 'out']
from mrcore.__main__ import main
main()
"""


def test_the_command_starts_it_before_its_imports_and_ends_it_if_nothing_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", MAIN], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split("\n")) == (2, ["[]", "ended", ""])
    assert "nowhere.py does not exist" in done.stderr


def test_the_launcher_answers_between_the_parts_that_it_loads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []
    asked = iter([False, False, True, False, True])

    class Served(launcher.Launcher):
        def _is_asked(self) -> bool:
            return next(asked, False)

        def _load(self) -> None:
            self._steps += 1
            events.append("load")

        def serve_one(self) -> bool:
            events.append("answer")
            return events.count("answer") < 3

    with socket.socket() as unread:
        Served(unread).serve()
    before = ["load", "load", "answer", "load", "answer"]
    assert events[:5] == before
    assert events[5:] == ["load"] * (max(launcher._STEPS.values()) - 3) + ["answer"]
    assert launcher._STEPS["mrcore.master"] == 1, "it needs nothing of what children import"
