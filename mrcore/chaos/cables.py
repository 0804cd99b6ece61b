"""Cables between networks of this machine that delay frames and lose some; for root.

    python -P -m mrcore.chaos.cables NAME NAME [NAME NAME]... <PIPE

makes two interfaces for each pair of names, and carries frames from one to the other. It prints a
line once they are there. They may be moved to other networks then. They go when the pipe closes.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import resource
import select
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from random import SystemRandom  # noqa: TID251 - which frames get lost is not repeatable anyway
from typing import Final

from mrcore.chaos.core.line import Line
from mrcore.util.clock import SYSTEM, Clock

DEVICE: Final = "/dev/net/tun"
_SET_INTERFACE: Final = 0x400454CA
_ETHERNET: Final = 0x0002
_NO_HEADER: Final = 0x1000
_FRAME_BYTES: Final = 1 << 16
_STOP_SECONDS: Final = 5.0


def can_be_slow() -> bool:
    """Return whether this system has the device by which programs carry frames."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def carried(pairs: Sequence[tuple[str, str]]) -> Iterator[None]:
    """Let pairs of interfaces be there, and a process that carries frames, for the block."""
    names = [name for pair in pairs for name in pair]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "mrcore.chaos.cables", *names],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        # This closes the pipe.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_STOP_SECONDS)
        process.kill()
        process.wait()


def carry(pairs: Sequence[tuple[int, int]], life: int, clock: Clock = SYSTEM) -> None:
    """Carry frames between pairs of descriptors until `life` can be read or has ended."""
    rng = SystemRandom()
    lines: dict[int, tuple[Line[bytes], int]] = {}
    for one, other in pairs:
        lines[one], lines[other] = (Line(rng), other), (Line(rng), one)
    poll = select.poll()
    for descriptor in (life, *lines):
        poll.register(descriptor, select.POLLIN)
    while True:
        nexts = [at for line, _ in lines.values() if (at := line.next_at()) is not None]
        wait = math.ceil(max(0.0, min(nexts) - clock.monotonic()) * 1000) if nexts else None
        for descriptor, events in poll.poll(wait):
            if descriptor == life:
                return
            if not events & select.POLLIN:
                poll.unregister(descriptor)  # its network is gone
                continue
            with contextlib.suppress(OSError):  # it is down
                lines[descriptor][0].put(os.read(descriptor, _FRAME_BYTES), clock.monotonic())
        now = clock.monotonic()
        for line, target in lines.values():
            for frame in line.take(now):
                with contextlib.suppress(OSError):  # it is down: the frame is lost
                    os.write(target, frame)


def _interface(name: str) -> int:
    """Make an interface, and return the descriptor that has its frames."""
    descriptor = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    request = struct.pack("16sH", name.encode(), _ETHERNET | _NO_HEADER)
    fcntl.ioctl(descriptor, _SET_INTERFACE, request)
    return descriptor


def main() -> None:
    """Make the interfaces and carry frames until standard input ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    found = [_interface(name) for name in sys.argv[1:]]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    carry(list(zip(found[::2], found[1::2], strict=True)), sys.stdin.fileno())


if __name__ == "__main__":
    main()
