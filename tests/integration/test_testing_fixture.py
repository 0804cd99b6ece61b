"""The fixture `mrcore_cluster`, as a test of a user has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TEST = """
import threading

import mrcore

def test_squares(mrcore_cluster):
    assert list(mrcore_cluster.map(lambda n: n * n, range(4))) == [0, 1, 4, 9]
    numbers = mrcore.from_items([("a", 1), ("b", 2), ("a", 3)])
    assert numbers.sum_by_key().collect(on=mrcore_cluster) == [("a", 4), ("b", 2)]
    big = numbers.flat_map(lambda pair: [(pair[0], "x" * 100)] * 5_000).group_by_key()
    assert [(k, len(v)) for k, v in big.collect(on=mrcore_cluster)] == [("a", 10_000), ("b", 5_000)]
    assert len(mrcore_cluster.workers()) == 2
    files = str(mrcore_cluster.monitor.files(mrcore_cluster.jobs()[0]))
    assert "value" not in files, "results are freed once they have been read"

def test_take_waits_for_no_task_that_it_does_not_need(mrcore_cluster):
    stuck = mrcore.from_items(range(1_000)).map(lambda n: n if n < 2 else threading.Event().wait())
    assert stuck.take(2, on=mrcore_cluster) == [0, 1]
    job = mrcore_cluster.jobs()[0]
    assert str(job.state) == "cancelled"
    assert job.message == "Its client has what it asked for."
"""


def test_a_test_of_a_user_gets_a_cluster(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
            "-p", "mrcore.testing.fixtures", "test_it.py",
        ],
        cwd=tmp_path,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
