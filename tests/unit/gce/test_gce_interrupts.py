"""Ctrl-C is noticed in waits and kept from what is being made; a second one is final."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrcore.gce.crew import Crew
from mrcore.gce.interrupts import Interrupts, Stopped

PROGRAM = """
import subprocess, sys
from pathlib import Path
from mrcore.gce.console import say
from mrcore.gce.crew import Crew
from mrcore.gce.interrupts import Interrupts, Stopped

folder = Path(sys.argv[1])
interrupts = Interrupts()
crew = Crew(check=interrupts.check)
interrupts.install(lambda: say("at once"))


def make():
    # Reads from a pipe: ends when the test wants it to, and not by Ctrl-C.
    subprocess.run(["cat", folder / "go"], check=True)
    (folder / "made").touch()


def begin():
    (folder / "begun").touch()
    make()


try:
    crew.together(begin)
except Stopped:
    interrupts.finish("removing; once more, and it stays.")
    (folder / "stopping").touch()
    crew.settle()
    say(f"made: {(folder / 'made').exists()}")
    sys.exit(7)
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    os.mkfifo(tmp_path / "go")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        yield process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def await_file(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert process.poll() is None


def press_ctrl_c(process: subprocess.Popen[str]) -> None:
    """Send what a terminal sends to every process of its group."""
    os.killpg(process.pid, signal.SIGINT)


def test_what_is_being_made_is_finished_and_waited_for(
    tmp_path: Path, running: subprocess.Popen[str]
) -> None:
    await_file(tmp_path / "begun", running)
    press_ctrl_c(running)
    await_file(tmp_path / "stopping", running)
    assert not (tmp_path / "made").exists()
    (tmp_path / "go").write_text("")
    _, said = running.communicate()
    assert running.returncode == 7, said
    assert said.splitlines() == ["mrcore gce: stopping …", "mrcore gce: made: True"]


def test_a_second_one_ends_it_at_once(tmp_path: Path, running: subprocess.Popen[str]) -> None:
    await_file(tmp_path / "begun", running)
    press_ctrl_c(running)
    await_file(tmp_path / "stopping", running)
    press_ctrl_c(running)
    assert running.wait() == 130
    assert not (tmp_path / "made").exists()


def test_a_signal_that_was_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: taken.append(number))
    former = {signal.SIGINT: signal.SIG_DFL, signal.SIGTERM: signal.SIG_DFL}
    monkeypatch.setattr(signal, "getsignal", lambda number: former.get(number, signal.SIG_IGN))
    Interrupts().install(lambda: None)
    assert taken == [signal.SIGINT, signal.SIGTERM]


def test_the_first_signal_does_what_the_phase_asks_for(capfd: pytest.CaptureFixture[str]) -> None:
    interrupts = Interrupts()
    crew = Crew(check=interrupts.check)
    cancelled: list[str] = []
    interrupts.call_at_first(lambda: cancelled.append("job"))
    interrupts._on_signal(signal.SIGTERM, None)
    assert crew.do(lambda: 1) == 1  # the job ends by itself, and then all goes on
    assert (cancelled, interrupts.count) == (["job"], 1)

    other = Interrupts()
    other._on_signal(signal.SIGTERM, None)
    with pytest.raises(Stopped):
        Crew(check=other.check).do(lambda: 1)
    other.finish("removing")
    assert Crew(check=other.check).do(lambda: 1) == 1
    assert capfd.readouterr().err == "mrcore gce: stopping …\n"
