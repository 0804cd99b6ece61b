"""Cables and disks of a rehearsal, on the real system; for root."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mrcore.chaos import network as networks
from mrcore.chaos.disk import ScratchDisk
from mrcore.chaos.janitor import Janitor
from mrcore.chaos.network import Network
from mrcore.errors import UsageError

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.0)"


def left() -> str:
    """Return what a rehearsal of this process has on the system."""
    commands = (("netns", "list"), ("-o", "link", "show"), ("-o", "addr", "show", "dev", "lo"))
    text = "".join(
        subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout
        for words in commands
    )
    return " ".join(re.findall(rf"\bmc{os.getpid()}\w*", text))


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_a_cable_that_is_cut_and_mended() -> None:
    networks.check_network()
    with Janitor() as janitor:
        network = Network(janitor)
        with network.lay(2):
            with socket.create_server((network.address, 0)) as server:
                port = str(server.getsockname()[1])

                def reaches(number: int) -> bool:
                    command = [*network.prefix(number), sys.executable, "-c", CONNECT]
                    words = [*command, network.address, port]
                    return subprocess.run(words, capture_output=True, check=False).returncode == 0

                assert reaches(0)
                with network.cut(0):
                    assert not reaches(0)
                    assert reaches(1)
                assert reaches(0)
            assert left()
    assert not left()


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_what_a_killed_rehearsal_has_left_is_removed() -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    space = f"mc{dead.pid}n0"
    subprocess.run(["ip", "netns", "add", space], check=True)
    networks.sweep_networks()
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    assert space not in listed.stdout


def test_others_than_root_get_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="needs root"):
        networks.check_network()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    with Janitor() as janitor:
        disk = ScratchDisk(folder, janitor)
        with disk.mounted():
            (folder / "before").write_bytes(bytes(100_000))
            with disk.full():
                assert (folder / "before").stat().st_size == 100_000
                with pytest.raises(OSError, match="No space") as refused:
                    (folder / "more").write_bytes(bytes(1 << 20))
                assert refused.value.errno == errno.ENOSPC
            (folder / "more").write_bytes(bytes(1 << 20))
    assert str(folder) not in Path("/proc/mounts").read_text()
    assert not list(folder.iterdir())
