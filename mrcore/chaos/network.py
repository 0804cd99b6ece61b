"""Networks of their own for masters and some workers, so that they can be cut off; for root.

Each of these processes is in a network namespace with one cable, and so is this machine. All cables
end at a switch in a namespace of its own: nothing of this machine's network is changed. Where the
system lets programs carry frames, cables delay frames and lose some (`mrcore.chaos.cables`). Names
carry the id of the process that made them: the next rehearsal removes what a dead one has left.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mrcore.chaos import cables
from mrcore.chaos.janitor import Janitor
from mrcore.errors import MrcoreError, UsageError

_NETS: Final = 32
_NET_SIZE: Final = 16
"""Blocks of 256 addresses in the network of one rehearsal."""
_FIRST: Final = 198 << 24 | 18 << 16
"""The first address of the networks that are set aside for tests: no machine has one of them."""
_SWITCH: Final = "switch"
_OWN: Final = re.compile(r"\bmc(\d+)[a-z]?\d*\b")


@dataclass(frozen=True, slots=True)
class Cable:
    """Cable of one process."""

    number: int
    address: str
    """Address of the process at its far end."""
    prefix: tuple[str, ...]
    """Words by which a command runs at the far end."""


class Network:
    """The cables of masters and of some workers."""

    def __init__(self, janitor: Janitor) -> None:
        self._janitor = janitor
        self._mark = f"mc{os.getpid()}"
        self._stack = contextlib.ExitStack()
        self._net = 0
        self.masters: list[Cable] = []
        self.workers: list[Cable] = []
        """Cables of the first workers; the others are in this machine's network."""
        self.is_slow = False
        """Whether cables delay and lose frames."""

    @property
    def address(self) -> str:
        """Return the address of this machine."""
        return self._address(0)

    @contextlib.contextmanager
    def lay(self, masters: int, workers: int) -> Iterator[None]:
        """Lay cables for the length of the block."""
        sweep_networks()
        with self._stack:
            self._net = _free_net()
            self._made(("netns", "add", self._hub), ("netns", "del", self._hub))
            self._ip_in(self._hub, "link", "add", _SWITCH, "type", "bridge")
            self._ip_in(self._hub, "link", "set", _SWITCH, "up")
            home = self._near(0)
            pair = ("type", "veth", "peer", "name", self._far(0), "netns", self._hub)
            self._made(("link", "add", home, *pair), ("link", "del", home))
            _ip("addr", "add", f"{self.address}/20", "dev", home)
            _ip("link", "set", home, "up")
            self._ip_in(self._hub, "link", "set", self._far(0), "master", _SWITCH, "up")
            self._lay_all(masters + workers)
            laid = [self._cable(number) for number in range(1, masters + workers + 1)]
            self.masters, self.workers = laid[:masters], laid[masters:]
            yield

    @contextlib.contextmanager
    def cut(self, cable: Cable) -> Iterator[None]:
        """Cut a cable for the length of the block."""
        near = ("-n", self._hub, "link", "set", self._near(cable.number))
        with self._janitor.undone_by("ip", *near, "up"):
            _ip(*near, "down")
            try:
                yield
            finally:
                _ip(*near, "up")

    def _lay_all(self, count: int) -> None:
        numbers = range(1, count + 1)
        self.is_slow = cables.can_be_slow()
        if self.is_slow:
            pairs = [(self._near(number), self._far(number)) for number in numbers]
            self._stack.enter_context(cables.carried(pairs))
        for number in numbers:
            self._lay_one(number)

    def _lay_one(self, number: int) -> None:
        space, near, far = self._space(number), self._near(number), self._far(number)
        self._made(("netns", "add", space), ("netns", "del", space))
        if self.is_slow:
            _ip("link", "set", near, "netns", self._hub)
            _ip("link", "set", far, "netns", space)
        else:
            pair = ("type", "veth", "peer", "name", far, "netns", space)
            self._ip_in(self._hub, "link", "add", near, *pair)
        self._ip_in(self._hub, "link", "set", near, "master", _SWITCH, "up")
        self._ip_in(space, "addr", "add", f"{self._address(number)}/20", "dev", far)
        self._ip_in(space, "link", "set", "lo", "up")
        self._ip_in(space, "link", "set", far, "up")

    def _made(self, make: tuple[str, ...], undo: tuple[str, ...]) -> None:
        self._stack.enter_context(self._janitor.undone_by("ip", *undo))
        self._stack.callback(_try, *undo)
        _ip(*make)

    def _ip_in(self, space: str, *words: str) -> None:
        _ip("-n", space, *words)

    def _cable(self, number: int) -> Cable:
        prefix = ("nsenter", f"--net=/run/netns/{self._space(number)}")
        return Cable(number, self._address(number), prefix)

    def _address(self, number: int) -> str:
        return _dotted(_FIRST + (self._net * _NET_SIZE << 8) + number + 1)

    @property
    def _hub(self) -> str:
        return f"{self._mark}h"

    def _space(self, number: int) -> str:
        return f"{self._mark}n{number}"

    def _near(self, number: int) -> str:
        return f"{self._mark}x{number}"

    def _far(self, number: int) -> str:
        return f"{self._mark}y{number}"


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


def _is_dead(process_id: str) -> bool:
    return not Path(f"/proc/{process_id}").exists()


def _free_net() -> int:
    """Return the number of a network in which this machine has no address."""
    found = re.findall(r"inet (\d+)\.(\d+)\.(\d+)\.\d+", _ip("-o", "-4", "addr"))
    blocks = [(int(a) << 16 | int(b) << 8 | int(c)) - (_FIRST >> 8) for a, b, c in found]
    taken = {block // _NET_SIZE for block in blocks}
    for step in range(_NETS):
        net = (os.getpid() + step) % _NETS
        if net not in taken:
            return net
    raise MrcoreError("All networks of 198.18.0.0/15 are taken. Remove some.")


def _dotted(address: int) -> str:
    return ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))


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
