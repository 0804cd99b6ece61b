"""Clean-up after a rehearsal, also after one that was killed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from mrcore.chaos import janitor
from tests.support.waiting import wait_until

KILLED = """
import sys, time
from mrcore.chaos.janitor import Janitor
with Janitor() as janitor, janitor.undone_by("touch", sys.argv[1] + "/left"):
    with janitor.undone_by("touch", sys.argv[1] + "/done"):
        pass
    print("ready", flush=True)
    time.sleep(600)
"""


def test_a_rehearsal_that_is_killed(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    wait_until((tmp_path / "left").exists)
    assert not (tmp_path / "done").exists()


def test_the_newest_is_undone_first(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = [
        [1, "sh", "-c", f"echo first >> {log}"],
        [2, "sh", "-c", f"echo second >> {log}"],
        [3, "false"],
        [4, "/does/not/exist"],
        [2],
        [5, "sh", "-c", f"echo third >> {log}"],
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    janitor.undo_at_end(io.StringIO(text + '[6, "half'))
    assert log.read_text().split() == ["third", "first"]


def test_a_janitor_that_was_killed_harms_nothing(tmp_path: Path) -> None:
    with janitor.Janitor() as one:
        one._process.kill()
        one._process.wait()
        with one.undone_by("touch", str(tmp_path / "x")):
            pass
    assert not (tmp_path / "x").exists()
