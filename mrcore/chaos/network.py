"""Networks of their own for some workers, so that they can be cut off from the master; for root.

Each such worker is in a network namespace with one cable to this machine. The masters listen at an
address of the loopback interface that all cables lead to. Names carry the id of the process that
made them: the next rehearsal removes what a dead one has left.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mrcore.chaos.janitor import Janitor
from mrcore.errors import MrcoreError, UsageError

DELAY: Final = ("delay", "5ms", "3ms", "loss", "1%")
"""Delay, its jitter, and the share of lost packets on each cable, as `tc` has them."""
_SUBNETS: Final = 256
_NET: Final = "198.18"
"""The network that is set aside for tests of networks: no machine has an address in it."""
_OWN: Final = re.compile(r"\bmc(\d+)[a-z]?\d*\b")


class Network:
    """The cables of some workers."""

    def __init__(self, janitor: Janitor) -> None:
        self._janitor = janitor
        self._mark = f"mc{os.getpid()}"
        self._stack = contextlib.ExitStack()
        self.address = ""
        """The address at which masters listen."""
        self.is_slow = False
        """Whether cables delay and lose packets."""

    @contextlib.contextmanager
    def lay(self, cables: int) -> Iterator[None]:
        """Lay cables, numbered from 0, for the length of the block."""
        sweep_networks()
        with self._stack:
            subnet = _free_subnet()
            self.address = f"{_NET}.{subnet}.1"
            home = (f"{self.address}/32", "dev", "lo")
            self._made(("addr", "add", *home, "label", f"lo:{self._mark}"), ("addr", "del", *home))
            for number in range(cables):
                self._lay_one(number, f"{_NET}.{subnet}", 4 * (number + 1))
            yield

    def prefix(self, number: int) -> tuple[str, ...]:
        """Return the words by which a command runs at the far end of a cable."""
        return ("nsenter", f"--net=/run/netns/{self._space(number)}")

    @contextlib.contextmanager
    def cut(self, number: int) -> Iterator[None]:
        """Cut a cable for the length of the block."""
        near = self._near(number)
        with self._janitor.undone_by("ip", "link", "set", near, "up"):
            _ip("link", "set", near, "down")
            try:
                yield
            finally:
                _ip("link", "set", near, "up")

    def _lay_one(self, number: int, net: str, first: int) -> None:
        space, near, far = self._space(number), self._near(number), f"{self._mark}y{number}"
        self._made(("netns", "add", space), ("netns", "del", space))
        pair = ("type", "veth", "peer", "name", far, "netns", space)
        self._made(("link", "add", near, *pair), ("link", "del", near))
        _ip("addr", "add", f"{net}.{first + 1}/30", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", space, "addr", "add", f"{net}.{first + 2}/30", "dev", far)
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", space, "link", "set", far, "up")
        _ip("-n", space, "route", "add", "default", "via", f"{net}.{first + 1}")
        with contextlib.suppress(MrcoreError, OSError):  # kernels without netem have no delay
            _run("tc", "qdisc", "add", "dev", near, "root", "netem", *DELAY)
            self.is_slow = True

    def _made(self, make: tuple[str, ...], undo: tuple[str, ...]) -> None:
        self._stack.enter_context(self._janitor.undone_by("ip", *undo))
        self._stack.callback(_try, *undo)
        _ip(*make)

    def _space(self, number: int) -> str:
        return f"{self._mark}n{number}"

    def _near(self, number: int) -> str:
        return f"{self._mark}x{number}"


def check_network() -> None:
    """Raise UsageError where no network can be cut."""
    if os.geteuid() != 0:
        raise UsageError(
            "A partition is made of network namespaces, which needs root. Run it as root, or leave "
            "partitions out."
        )
    missing = [name for name in ("ip", "nsenter") if shutil.which(name) is None]
    if missing:
        raise UsageError(
            f"A partition needs the program {missing[0]}. Install iproute2 and util-linux."
        )


def sweep_networks() -> None:
    """Remove what rehearsals have left whose processes are dead."""
    listed = (
        (_ip("netns", "list"), ("netns", "del")),
        (_ip("-o", "link", "show"), ("link", "del")),
    )
    for text, undo in listed:
        for name in {found[0] for found in _OWN.finditer(text) if _is_dead(found[1])}:
            _try(*undo, name)
    for line in _ip("-o", "addr", "show", "dev", "lo").splitlines():
        found = _OWN.search(line)
        address = re.search(rf"inet ({re.escape(_NET)}\.\S+)", line)
        if found is not None and address is not None and _is_dead(found[1]):
            _try(
                "addr", "del", address[1] if "/" in address[1] else f"{address[1]}/32", "dev", "lo"
            )


def _is_dead(process_id: str) -> bool:
    return not Path(f"/proc/{process_id}").exists()


def _free_subnet() -> int:
    taken = {int(one) for one in re.findall(rf"{re.escape(_NET)}\.(\d+)\.", _ip("-o", "addr"))}
    start = os.getpid() % _SUBNETS
    for step in range(_SUBNETS):
        if (start + step) % _SUBNETS not in taken:
            return (start + step) % _SUBNETS
    raise MrcoreError(f"All networks of {_NET}.0.0 are taken. Remove some.")


def _ip(*words: str) -> str:
    return _run("ip", *words)


def _try(*words: str) -> None:
    with contextlib.suppress(MrcoreError):
        _ip(*words)


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MrcoreError(f"`{' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout
