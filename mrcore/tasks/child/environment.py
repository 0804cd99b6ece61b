"""The environment of children, and of processes that are forked to become workers and children."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from mrcore.model.slots import AMPLE_BYTES

MARK: Final = "MRCORE_CHILD"
"""Variable with the mark of a child, by which all its processes are found. A fork replaces the
value of its parent in place, so it is at most as long."""
CHILD_PATH: Final = "MRCORE_CHILD_PYTHONPATH"
"""Variable in which daemons keep the PYTHONPATH of their children."""
DAEMON_PACKAGES: Final = ("google", "grpc", "grpc_health", "grpc_reflection", "grpc_tools")
"""Packages that daemons import, and children do not: a user's module may have such a name."""

_THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip
_OF_DAEMONS: Final = frozenset({
    "MRCORE_CLUSTER", "MRCORE_LISTEN", "MRCORE_MASTER_OPTIONS", "MRCORE_METRICS", "MRCORE_SLOTS",
    "MRCORE_STATE", "MRCORE_WORKER_OPTIONS", "CREDENTIALS_DIRECTORY", "INVOCATION_ID",
    "JOURNAL_STREAM", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "NOTIFY_SOCKET",
    "WATCHDOG_PID", "WATCHDOG_USEC",
})  # fmt: skip
"""Variables by which units and service managers configure a daemon, and hand it secrets."""
_ROOMY_BYTES: Final = 512 << 20
_OWN_VARIABLE: Final = "JE_ARROW_MALLOC_CONF"
_OWN_VALUE: Final = (
    "oversize_threshold:0,dirty_decay_ms:1000,muzzy_decay_ms:1000,background_thread:false"
)
"""Arrow's own settings for jemalloc, but without its thread, which would not survive a fork."""
_PURGE_DELAY_MS: Final = "1000"
"""Time for which Arrow's allocator keeps what was freed. A large sort takes half of the time in the
kernel, and a few per cent more memory."""
_ALLOCATOR_OPTIONS: Final = {
    "MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_ARENA_MAX": -8,
}  # fmt: skip
"""Variables that glibc reads at the start of a program, and the options of mallopt(3) for them."""

_began_with: dict[str, str] | None = None
"""Environment with which this process, or the one that it was forked from, has begun."""


def child_environment(environment: Mapping[str, str], slot_memory_bytes: int) -> dict[str, str]:
    """Return the environment of children: the caller's, with defaults that suit many slots.

    What configures the daemon is not for user code.
    """
    result = {name: value for name, value in environment.items() if name not in _OF_DAEMONS}
    path = result.pop(CHILD_PATH, None)
    if path:
        result["PYTHONPATH"] = path
    return {**_defaults(slot_memory_bytes), **result}


def server_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a fork server whose children get this one."""
    return {_OWN_VARIABLE: _OWN_VALUE, **environment}


def launcher_environment(
    environment: Mapping[str, str], slot_memory_bytes: int, mark_bytes: int
) -> dict[str, str]:
    """Return the environment of a process from which daemons and their children are forked.

    It has what libraries read while they are imported. It has room for marks of `mark_bytes`. What
    the allocator of the system reads is left to each fork, since daemons do without.
    """
    defaults = _defaults(slot_memory_bytes)
    for name in _ALLOCATOR_OPTIONS:
        defaults.pop(name, None)
    return {**server_environment({**defaults, **environment}), MARK: "-" * mark_bytes}


def note_beginning() -> None:
    """Note that forks of this process may become fork servers: it has begun as a launcher."""
    global _began_with  # noqa: PLW0603 - it is a property of the process
    _began_with = dict(os.environ)


def suits_children(environment: Mapping[str, str]) -> bool:
    """Return whether a fork of this process can be one that has begun with this environment."""
    if _began_with is None:
        return False
    names = {MARK, CHILD_PATH, _OWN_VARIABLE, *_ALLOCATOR_OPTIONS}
    began = {name: value for name, value in _began_with.items() if name not in names}
    return began == {name: value for name, value in environment.items() if name not in names}


def apply_allocator_settings() -> bool:
    """Apply what the allocator would read at the start of a program; return whether it can."""
    import ctypes  # not at the start of a command

    began = _began_with or {}
    wanted = {name: os.environ.get(name) for name in _ALLOCATOR_OPTIONS}
    changed = {name: value for name, value in wanted.items() if value != began.get(name)}
    if not changed:
        return True
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    return set_option is not None and all(
        value is not None and value.isdigit() and set_option(_ALLOCATOR_OPTIONS[name], int(value))
        for name, value in changed.items()
    )


def drop_own() -> None:
    """Remove the variable that is for fork servers alone."""
    if os.environ.get(_OWN_VARIABLE) == _OWN_VALUE:
        del os.environ[_OWN_VARIABLE]


def _defaults(slot_memory_bytes: int) -> dict[str, str]:
    # A slot is one core's worth of work: libraries that start a thread a core would fight.
    result = dict.fromkeys(_THREAD_VARIABLES, "1")
    # Code that walks over a set emits in the same order in every attempt.
    result["PYTHONHASHSEED"] = "0"
    if slot_memory_bytes < AMPLE_BYTES:
        # Arrow's usual allocator and the arenas of many threads keep tens of megabytes, more or
        # less of them as it happens.
        result["ARROW_DEFAULT_MEMORY_POOL"] = "jemalloc"
        result["MALLOC_ARENA_MAX"] = "1"
    else:
        # After its usual 10 ms Arrow's allocator gives memory back that the next batch takes anew.
        result["MIMALLOC_PURGE_DELAY"] = _PURGE_DELAY_MS
    if slot_memory_bytes >= _ROOMY_BYTES:
        # Keeping freed memory makes big sorts faster; tight slots need it back.
        result["MALLOC_MMAP_THRESHOLD_"] = "2000000000"
        result["MALLOC_TRIM_THRESHOLD_"] = "2000000000"
    return result
