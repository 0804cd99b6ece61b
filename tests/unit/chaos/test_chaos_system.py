"""Cables and disks of a rehearsal, on the real system; for root."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mrcore.chaos import network as networks
from mrcore.chaos.core.line import DELAY_SECONDS
from mrcore.chaos.disk import ScratchDisk
from mrcore.chaos.janitor import Janitor
from mrcore.chaos.network import Network
from mrcore.errors import UsageError

CONNECT = """
import socket, sys, time
began = time.monotonic()
socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()
print(time.monotonic() - began)
"""
SERVE = """
import socket, sys
with socket.create_server((sys.argv[1], 0)) as server:
    print(server.getsockname()[1], flush=True)
    while True:
        server.accept()[0].close()
"""
LOST_SECONDS = "0.3"
"""Wait for a connection that must not come about."""
SURE_SECONDS = "20"
"""Wait for one that must, over a cable that loses frames."""


def left() -> str:
    """Return what a rehearsal of this process has on the system."""
    commands = (("netns", "list"), ("-o", "link", "show"), ("-o", "addr", "show", "dev", "lo"))
    text = "".join(
        subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout
        for words in commands
    )
    return " ".join(re.findall(rf"\bmc{os.getpid()}\w*", text))


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_cables_that_are_cut_and_mended() -> None:
    networks.check_network()
    with Janitor() as janitor:
        network = Network(janitor)
        with network.lay(masters=1, workers=2):
            [master], [one, other] = network.masters, network.workers
            words = [*master.prefix, sys.executable, "-c", SERVE, master.address]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
                assert server.stdout is not None
                port = server.stdout.readline().strip()

                def reaches(prefix: tuple[str, ...] = (), seconds: str = SURE_SECONDS) -> float:
                    """Return how long a connection to the master takes; 0 where there is none."""
                    words = [*prefix, sys.executable, "-c", CONNECT, master.address, port, seconds]
                    done = subprocess.run(words, capture_output=True, text=True, check=False)
                    return float(done.stdout or "0")

                shortest = 2 * DELAY_SECONDS[0] if network.is_slow else 0.0
                assert reaches() > shortest
                assert reaches(one.prefix) > 2 * shortest
                with network.cut(one):
                    assert not reaches(one.prefix, LOST_SECONDS)
                    assert reaches(other.prefix)
                assert reaches(one.prefix)
                with network.cut(master):
                    assert not reaches((), LOST_SECONDS)
                    assert not reaches(other.prefix, LOST_SECONDS)
                assert reaches()
                server.kill()
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
