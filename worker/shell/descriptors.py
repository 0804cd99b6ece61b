"""The open files that a worker needs for its slots."""

from __future__ import annotations

import resource
from typing import Final

from mrcore.errors import UsageError

_DESCRIPTORS_PER_CHILD: Final = 5
"""Both ends of its orders, its reports, its board and its exit."""
_OTHER_DESCRIPTORS: Final = 256
"""Connections, files being read, and what a child needs while it is spawned."""


def raise_descriptor_limit(slots: int) -> None:
    """Raise the soft limit of open files to what `slots` slots need.

    Raises UsageError if the hard limit does not even allow one child for each slot.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    least = _OTHER_DESCRIPTORS + _DESCRIPTORS_PER_CHILD * slots
    # As many idle children as busy ones may be there.
    wanted = least + _DESCRIPTORS_PER_CHILD * slots
    infinity = resource.RLIM_INFINITY
    if hard != infinity and hard < least:
        raise UsageError(
            f"{slots} slots need {least:,} open files, and this process may have {hard:,}. "
            "Use fewer --slots, or raise the hard limit (ulimit -Hn, or LimitNOFILE= of systemd)."
        )
    if soft != infinity and soft < wanted:
        allowed = wanted if hard == infinity else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
