"""A wait for one descriptor: a socket with something to read, or a process that has ended."""

from __future__ import annotations

import select


def is_readable(descriptor: int, seconds: float) -> bool:
    """Return whether a descriptor can be read within `seconds`, or a process has ended by then."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))
