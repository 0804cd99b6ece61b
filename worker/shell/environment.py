"""The environment of children, and what a worker needs of the system for its slots."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from typing import Final

from mrcore.errors import UsageError
from mrcore.model.task import AMPLE_BYTES

_THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip
_ROOMY_BYTES: Final = 512 << 20
_DESCRIPTORS_PER_CHILD: Final = 5
"""Both ends of its orders, its reports, its board and its exit."""
_OTHER_DESCRIPTORS: Final = 256
"""Connections, files being read, and what a child needs while it is spawned."""


def child_environment(environment: Mapping[str, str], slot_memory_bytes: int) -> dict[str, str]:
    """Return the environment of children: the caller's, with defaults that suit many slots."""
    result = dict(environment)
    path = result.pop("MRCORE_CHILD_PYTHONPATH", None)
    if path:
        result["PYTHONPATH"] = path
    # A slot is one core's worth of work: libraries that start a thread a core would fight.
    for name in _THREAD_VARIABLES:
        result.setdefault(name, "1")
    # Code that walks over a set emits in the same order in every attempt.
    result.setdefault("PYTHONHASHSEED", "0")
    if slot_memory_bytes < AMPLE_BYTES:
        # Arrow's usual allocator and the arenas of many threads keep tens of megabytes, more or
        # less of them as it happens.
        result.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
        result.setdefault("MALLOC_ARENA_MAX", "1")
    if slot_memory_bytes >= _ROOMY_BYTES:
        # Keeping freed memory makes big sorts faster; tight slots need it back.
        result.setdefault("MALLOC_MMAP_THRESHOLD_", "2000000000")
        result.setdefault("MALLOC_TRIM_THRESHOLD_", "2000000000")
    return result


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
