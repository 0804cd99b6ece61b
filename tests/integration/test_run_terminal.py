"""Runs at a terminal: the live display, the debugger, a pipe that closes early."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from subprocess import CompletedProcess

import pytest

from tests.support.run_support import MRCORE, WORD_COUNT, Place, words

RAISES = """
    def map(key, value):
        secret = value + "!"
        if value == "bad":
            raise ValueError("no")
        yield secret, 1
"""
STOPS = RAISES.replace('raise ValueError("no")', "breakpoint()")


def test_live_display_on_a_terminal(place: Place) -> None:
    place.write("wc.py", WORD_COUNT)
    place.write("in.txt", "a\n")
    ours, theirs = pty.openpty()
    arguments = [MRCORE, "run", "wc.py", "in.txt", "-o", "out", "-w", "1", "-r", "1"]
    process = subprocess.Popen(
        arguments, cwd=place.work, env={**place.environment, "TERM": "xterm"}, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait(20) == 0
    assert b"/1 tasks" in shown
    assert b"\x1b[2K" in shown
    assert shown.rstrip().endswith(f"mrcore cat {place.work}/out".encode())


def run_inline(place: Place, source: str, typed: str, *options: str) -> CompletedProcess[str]:
    """Run a job over the lines `good` and `bad` in one process; `typed` is what a person types."""
    place.write("job.py", source)
    place.write("in.txt", "good\nbad\n")
    return subprocess.run(
        [MRCORE, "run", "job.py", "in.txt", "-o", "out", "--engine", "inline", *options],
        cwd=place.work,
        env=place.environment,
        input=typed,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_debugger_opens_where_the_plugin_raises(place: Place) -> None:
    result = run_inline(place, RAISES, "p secret\nq\n", "--pdb")
    assert "'bad!'" in result.stdout
    assert result.returncode == 1
    assert "ValueError: no" in result.stderr


def test_breakpoint_gives_a_prompt(place: Place) -> None:
    result = run_inline(place, STOPS, "p value * 2\nc\n")
    assert "'badbad'" in result.stdout
    assert result.returncode == 0, result.stderr
    assert place.lines() == ["bad!\t1", "good!\t1"]


def test_leaving_the_debugger_is_an_interrupt(place: Place) -> None:
    assert_interrupted(place, run_inline(place, STOPS, "q\n"))


def test_ctrl_c_in_map_of_the_inline_engine_is_an_interrupt(place: Place) -> None:
    source = RAISES.replace('raise ValueError("no")', "import signal; signal.raise_signal(2)")
    assert_interrupted(place, run_inline(place, source, ""))


def assert_interrupted(place: Place, result: CompletedProcess[str]) -> None:
    """Make sure that a job has ended without a trace."""
    assert result.returncode == 130
    assert "Traceback" not in result.stderr
    assert not (place.work / "out").exists()


def test_cat_ends_quietly_when_its_reader_does(place: Place) -> None:
    place.write("lines.py", "def map(key, value):\n    yield value, None\n")
    place.write("in.txt", "\n".join(words(20_000)))
    options = ("--map-only", "--engine", "inline")
    place.done("run", "lines.py", "in.txt", "-o", "out", *options)
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {MRCORE} cat out | head -n 1"],
        cwd=place.work,
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


def run_unread(place: Place, sink: str, *arguments: str) -> int:
    """Run `mrcore` with both streams into a sink that takes nothing; return its exit code."""
    if sink == "disk":
        full = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, full = os.pipe()
        os.close(reader)
    try:
        command = [MRCORE, *arguments]
        return subprocess.run(
            command, cwd=place.work, env=place.environment, stdin=subprocess.DEVNULL,
            stdout=full, stderr=full, timeout=60, check=False,
        ).returncode  # fmt: skip
    finally:
        os.close(full)


@pytest.mark.parametrize(
    ("sink", "options"),
    [("pipe", ("--engine", "inline")), ("disk", ("--engine", "inline", "--json"))],
)
def test_a_job_goes_on_when_nobody_can_read_of_it(
    place: Place, sink: str, options: tuple[str, ...]
) -> None:
    place.write("wc.py", WORD_COUNT)
    place.write("in.txt", "a\n")
    assert run_unread(place, sink, "run", "wc.py", "in.txt", "-o", "out", *options) == 0
    assert place.lines() == ["a\t1"]
    place.write("job.py", RAISES)
    place.write("in.txt", "bad\n")
    assert run_unread(place, sink, "run", "job.py", "in.txt", "-o", "failed", *options) == 1
    assert not (place.work / "failed" / "_claim").exists()


def test_an_embedded_run_whose_reader_leaves_goes_to_its_end(place: Place) -> None:
    place.write("wc.py", WORD_COUNT)
    place.write("in.txt", "a\n")
    assert run_unread(place, "pipe", "run", "wc.py", "in.txt", "-o", "out", "-w", "1") == 0
    assert place.lines() == ["a\t1"]
    # Where the output of the command is the result, its reader decides, in silence.
    job_id = json.loads(place.done("jobs", "--json").stdout)[0]["job_id"]
    for command in (("show", job_id), ("cat", "out")):
        assert run_unread(place, "pipe", *command) == 128 + signal.SIGPIPE
        assert run_unread(place, "disk", *command) == 1
