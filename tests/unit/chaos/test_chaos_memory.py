"""Memory of workers that runs short: the files of control groups, and a kill by the kernel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mrcore.chaos import memory
from mrcore.chaos.core.memory_files import VERSION_1, VERSION_2, cached_in, kills_in
from mrcore.chaos.janitor import Janitor

HOLD = """
import sys
print("ready", flush=True)
sys.stdin.readline()
held = b"x" * int(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""


def test_limits_are_written_in_the_order_that_the_kernel_wants() -> None:
    assert VERSION_2.limited(5) == [("memory.max", "5"), ("memory.swap.max", "0")]
    assert VERSION_2.unlimited() == [("memory.swap.max", "max"), ("memory.max", "max")]
    both = ("memory.memsw.limit_in_bytes", "memory.limit_in_bytes")
    # Memory and swap together may never be less than memory alone.
    assert VERSION_1.limited(5) == [(both[1], "5"), (both[0], "5")]
    assert VERSION_1.unlimited() == [(both[0], "-1"), (both[1], "-1")]


def test_the_texts_of_groups() -> None:
    assert kills_in("low 0\nhigh 0\nmax 44\noom 2\noom_kill 3\noom_group_kill 1\n") == 3
    assert kills_in("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n") == 7
    assert kills_in("low 0\n") == 0
    stat = "anon 9\nfile 8\ninactive_file 30\nactive_file 12\ntotal_active_file 99\n"
    assert cached_in(stat) == 42


def test_without_root_no_group_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with Janitor() as janitor:
        assert memory.make_memory(janitor) is None


def test_groups_that_cannot_limit_memory_are_left_as_they_were(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    group = tmp_path / "sys/fs/cgroup/user.slice/own"
    group.mkdir(parents=True)
    own = tmp_path / "proc/self"
    own.mkdir(parents=True)
    (own / "cgroup").write_text("0::/user.slice/own\n")
    (own / "mountinfo").write_text("30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    with Janitor() as janitor:
        # A folder that is made here gets no files, as a group where memory is not handed on.
        assert memory.make_memory(janitor, tmp_path) is None
    assert [path.name for path in (tmp_path / "sys").rglob("*") if "mrcore" in path.name] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="control groups need root")
def test_the_kernel_kills_the_process_of_user_code() -> None:
    def holder(size_bytes: int) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", HOLD, str(size_bytes)]
        return subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def go_on(process: subprocess.Popen[str]) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("go on\n")
        return process.stdout.readline()

    with Janitor() as janitor, holder(32 << 20) as worker, holder(8 << 20) as child:
        found = memory.make_memory(janitor)
        try:
            if found is None:
                pytest.skip("no control group can limit memory here")
            with found.made():
                for process in (worker, child):
                    assert process.stdout is not None
                    assert process.stdout.readline() == "ready\n"
                found.hold("worker-1", worker.pid, [child.pid])
                assert [go_on(worker), go_on(child)] == ["held\n", "held\n"]
                assert found.run_short("worker-1", child.pid)
                assert child.wait() == -signal.SIGKILL
                assert worker.poll() is None
                group = found.folder / "worker-1"
                version = memory.version_of(group)
                assert version is not None
                assert str(worker.pid) in (group / "cgroup.procs").read_text().split()
                assert (group / version.limit).read_text().strip() not in ("", "0")
            assert not found.folder.exists()
            assert go_on(worker) == ""  # it has read the line and ended by itself
            assert worker.wait() == 0
        finally:
            worker.kill()
            child.kill()
