"""All servers of the cloud, in the namespaces that this process was started in.

It ends, and takes everything with it, when its standard input does: that is when whoever started it
says so, and also when that process is no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.cloud.compute.access import OWNER
from tests.cloud.compute.images import add_image
from tests.cloud.compute.machines import Pools
from tests.cloud.compute.server import ComputeServer
from tests.cloud.compute.storage import StorageAccess
from tests.cloud.machines import network
from tests.cloud.machines.nspawn import NspawnMachines
from tests.cloud.metadata import MetadataServer
from tests.gcsserver import GcsServer

HOST = str(network.GATEWAY.ip)
METADATA_PORT = 80
COMPUTE_PORT = 8080
STORAGE_PORT = 4443
INSTALLED = "installed"


@dataclass(frozen=True, slots=True)
class Place:
    """Folder of the machines (NspawnMachines) and the seconds that a preempted one still has."""

    root: Path
    folder: Path
    cgroup: str
    grace_seconds: float
    installed: Path | None = None
    """Disk of a VM that has installed mrcore; it becomes the image `INSTALLED`."""


@contextlib.asynccontextmanager
async def serving(place: Place) -> AsyncIterator[None]:
    """Serve on the bridge of the cloud."""
    _take_run()
    await network.set_up()
    with MetadataServer(HOST, METADATA_PORT) as metadata:
        disks = {} if place.installed is None else {INSTALLED: place.installed}
        machines = NspawnMachines(place.root, place.folder, metadata, place.cgroup, disks)
        listener = socket.create_server((HOST, COMPUTE_PORT))
        addresses = Pools(str(network.GATEWAY.network))
        compute = ComputeServer(
            machines, addresses, listener=listener, preempt_grace_seconds=place.grace_seconds
        )
        for name in disks:
            add_image(compute.core.store, name, {"mrcore-python": "3-11"})

        def account_at(address: str) -> str | None:
            return OWNER if address == HOST else metadata.account(address)

        access = StorageAccess(compute.core.access, account_at)
        with GcsServer(HOST, STORAGE_PORT, authorise=access.check):
            async with compute:
                yield


def _take_run() -> None:
    """Lay an empty /run over the host's: systemd-nspawn and `ip netns` write there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
    network.NAMESPACES.mkdir()


async def run(place: Place, ready_fd: int) -> None:
    """Serve until standard input ends; a line to `ready_fd` says when all servers answer."""
    async with serving(place):
        os.write(ready_fd, b"\n")
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
        await ended.wait()
