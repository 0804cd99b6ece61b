"""The network of the cloud: a bridge here, and for each VM a namespace with one link to it.

This process runs in a network namespace of its own that has no way out, so neither has a VM, and
an address that is not in the cloud is refused at once.
"""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path

BRIDGE = "mrcore0"
GATEWAY = ipaddress.IPv4Interface("10.128.0.1/20")
_MAC = "02:00:0a:80:00:01"
"""Without one of its own the bridge takes that of a link, and loses it, and its neighbours, with
the link."""
NAMESPACES = Path("/run/netns")


class NetworkError(Exception):
    """The kernel refused a part of the network."""


async def set_up() -> None:
    """Make the bridge, with the address at which the servers of the cloud listen."""
    await _ip(
        "link set lo up",
        f"link add {BRIDGE} address {_MAC} type bridge",
        f"address add {GATEWAY} dev {BRIDGE}",
        f"link set {BRIDGE} up",
    )


def namespace(address: str) -> Path:
    """Return the path of a VM's namespace."""
    return NAMESPACES / _name(address)


async def attach(address: str) -> None:
    """Make the namespace of a VM with that address, and its link."""
    name = _name(address)
    await _ip(f"netns add {name}")
    await _ip(
        f"link add {name} type veth peer name eth0 netns {name}",
        f"link set {name} master {BRIDGE} up",
    )
    await _ip(
        "link set lo up",
        "link set eth0 up",
        f"address add {address}/{GATEWAY.network.prefixlen} dev eth0",
        inside=name,
    )


async def detach(address: str) -> None:
    # The link first: it would outlive the namespace until its last process is gone.
    await _ip(f"link delete {_name(address)}", f"netns delete {_name(address)}")


async def cut(address: str, *, is_cut: bool) -> None:
    """Pull the plug of a VM, or put it in again."""
    await _ip(f"link set {_name(address)} {'down' if is_cut else 'up'}")


def _name(address: str) -> str:
    """Return a name for namespace and link, which may have 15 letters."""
    return f"vm-{int(ipaddress.IPv4Address(address)):x}"


async def _ip(*commands: str, inside: str | None = None) -> None:
    where = ("-netns", inside) if inside else ()
    process = await asyncio.create_subprocess_exec(
        "ip",
        *where,
        "-batch",
        "-",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate("\n".join(commands).encode())
    if process.returncode:
        raise NetworkError(f"{'; '.join(commands)}: {output.decode().strip()}")
