"""Memory and cores, read from made-up trees of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrcore.errors import UsageError
from mrcore.util import host

GIB = 1 << 30
V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "38 31 0:35 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
)
NO_LIMIT = str((1 << 63) - 4096)
"""Text of version 1 for a limit that is not set."""


def tree(root: Path, mounts: str, own: str, files: dict[str, str]) -> Path:
    """Make /proc/self and files below /sys/fs/cgroup; return the root."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(
        f"21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n{mounts}"
    )
    (root / "proc/self/cgroup").write_text(own)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_the_real_machine_is_plausible() -> None:
    assert 64 << 20 < host.memory_bytes() < 1 << 50
    assert host.cores() >= 1


def test_a_machine_without_groups_has_all_it_has(tmp_path: Path) -> None:
    import os

    assert host.memory_bytes(tmp_path) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert host.cores(tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"a.slice/memory.max": "max", "a.slice/b/memory.max": f"{GIB // 8}"}, GIB // 8),
        ({"a.slice/memory.max": f"{GIB // 16}", "a.slice/b/memory.max": f"{GIB // 8}"}, GIB // 16),
        ({"memory.max": f"{GIB // 32}", "a.slice/b/memory.max": "max"}, GIB // 32),
        ({"a.slice/b/memory.max": f"{GIB // 8}", "a.slice/memory.high": f"{GIB // 9}"}, GIB // 9),
        ({"a.slice/b/c/memory.max": "4096", "x/memory.max": "4096"}, None),
    ],
    ids=["own", "parent", "root", "high", "others"],
)
def test_the_tightest_limit_of_version_2_counts(
    tmp_path: Path, limits: dict[str, str], expected: int | None
) -> None:
    root = tree(tmp_path, V2, "0::/a.slice/b\n", limits)
    assert host.memory_bytes(root) == expected or host.memory_bytes()


def test_version_1_is_read_from_its_own_mounts(tmp_path: Path) -> None:
    own = "9:pids:/\n4:memory:/job/step\n2:cpu,cpuacct:/job\n1:name=systemd:/\n0::/elsewhere\n"
    files = {
        "memory/job/step/memory.limit_in_bytes": NO_LIMIT,
        "memory/job/memory.limit_in_bytes": str(GIB // 8),
        "memory/memory.limit_in_bytes": NO_LIMIT,
        "cpu,cpuacct/job/cpu.cfs_quota_us": "50000",
        "cpu,cpuacct/job/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
    }
    root = tree(tmp_path, V1, own, files)
    assert host.memory_bytes(root) == GIB // 8
    assert host.cores(root) == 1


def test_both_versions_at_once_are_read(tmp_path: Path) -> None:
    unified = V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
    files = {
        "memory/memory.limit_in_bytes": str(GIB // 8),
        "unified/job/memory.max": str(GIB // 16),
    }
    root = tree(tmp_path, V1 + unified, "4:memory:/\n0::/job\n", files)
    assert host.memory_bytes(root) == GIB // 16


@pytest.mark.parametrize("path", ["/docker/1/inner", "/inner", "/../../inner"])
def test_a_container_sees_its_part_of_the_tree(tmp_path: Path, path: str) -> None:
    mounts = V2.replace(" / /sys", " /docker/1 /sys")
    files = {"memory.max": str(GIB // 8), "inner/memory.max": str(GIB // 16)}
    root = tree(tmp_path, mounts, f"0::{path}\n", files)
    found = host.memory_bytes(root)
    assert found == (GIB // 16 if path.startswith("/docker") else GIB // 8)


@pytest.mark.parametrize(
    ("content", "expected"), [("10000 100000", 1), ("150000 100000", 2), ("max 100000", None)]
)
def test_quotas_of_cores_are_rounded_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, expected: int | None
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process_id: range(64))
    root = tree(tmp_path, V2, "0::/a\n", {"a/cpu.max": content, "cpu.max": "5000000 100000"})
    assert host.cores(root) == (expected or 50)


def test_files_that_make_no_sense_are_no_limits(tmp_path: Path) -> None:
    files = {"a/memory.max": "lots", "memory.max": "", "a/cpu.max": "0 0", "cpu.max": "max"}
    root = tree(tmp_path, V2 + "broken\n", "0::/a\nbroken\n", files)
    assert host.memory_bytes(root) == host.memory_bytes()
    assert host.cores(root) == host.cores()


def test_few_workers_share_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "cores", lambda: 8)
    monkeypatch.setattr(host, "memory_bytes", lambda: GIB)
    assert host.default_workers(1) == 4, "each with 128 MiB at least"
    assert host.default_workers(2) == 2
    assert host.default_workers(9) == 1
    host.check_slots(4, 0)
    with pytest.raises(UsageError, match="Each slot has 129 MB, but a slot needs at least 128MiB"):
        host.check_slots(5, 0)
    host.check_slots(5, host.MIN_SLOT_BYTES)
