"""Faults of stores in real processes, as a file says that the environment names.

    MRCORE_STORAGE_FAULTS=/run/chaos/faults.json mrcore worker --state ...

A rehearsal of disasters replaces the file (`write_rates`), and all processes follow within an
operation. Each fault that has struck is a line of FILE.hits. Draws are not seeded: which operation
of which process comes when is not repeatable in any case.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from random import SystemRandom  # noqa: TID251 - no two processes may draw the same
from typing import Final

import msgspec

from mrcore.errors import DiskFullError
from mrcore.storage.base import Storage
from mrcore.storage.faulty import FaultKind, FaultyStorage
from mrcore.util.clock import SYSTEM, Clock
from mrcore.util.decoding import UNREADABLE

WRITES: Final = frozenset({"commit", "publish", "sync"})
"""Operations that a full disk refuses."""
FULL: Final = "full"
SLOW: Final = "slow"


class FaultRates(msgspec.Struct, frozen=True, kw_only=True):
    """Rates of faults from now on; shares are of all operations, 0 to 1."""

    errors: float = 0.0
    """Share that fails: one half before anything has happened, one half after it has."""
    slow: float = 0.0
    """Share that takes longer."""
    slow_seconds: float = 0.5
    """Longest time that a slow operation takes longer."""
    full: bool = False
    """Whether every write meets a full disk."""
    cut_off: tuple[int, ...] = ()
    """Ids of processes that cannot reach the store at all."""


def write_rates(path: Path, rates: FaultRates) -> None:
    """Replace the file of faults, so that no reader ever meets half of one."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(msgspec.json.encode(rates))
    fresh.replace(path)


def count_hits(path: Path) -> Counter[str]:
    """Return how often each kind of fault has struck: before, after, slow or full."""
    try:
        return Counter(_hits_path(str(path)).read_text().split())
    except FileNotFoundError:
        return Counter()


def wrapped(store: Storage, path: str, clock: Clock = SYSTEM) -> FaultyStorage:
    """Return a store with the faults that the file says."""
    faults = Faults(path, clock)
    return FaultyStorage(store, faults.plan, hook=faults.delay)


class Faults:
    """The plan and the hook of a faulty store, by what the file says at each operation."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._rng = SystemRandom()
        self._seen = (0, 0)
        """Time of change and inode of the file that was read last."""
        self._rates = FaultRates()

    @property
    def rates(self) -> FaultRates:
        """Return what goes wrong now; nothing does while there is no file."""
        try:
            stat = os.stat(self._path)  # noqa: PTH116 - it is done at each operation
            seen = (stat.st_mtime_ns, stat.st_ino)
            if seen != self._seen:
                content = Path(self._path).read_bytes()
                self._rates = msgspec.json.decode(content, type=FaultRates)
                self._seen = seen
        except FileNotFoundError:
            return FaultRates()
        except (OSError, *UNREADABLE):
            pass  # a disaster in the rehearsal itself: the rates stay as they were
        return self._rates

    def plan(self, operation: str, uri: str, number: int) -> FaultKind | None:
        """Return how an operation fails."""
        rates = self.rates
        if os.getpid() in rates.cut_off:
            return FaultKind.BEFORE  # not counted: a process that is cut off tries again and again
        if self._rng.random() >= rates.errors:
            return None
        kind = self._rng.choice((FaultKind.BEFORE, FaultKind.AFTER))
        self._note(kind.value)
        return kind

    def delay(self, operation: str, uri: str) -> None:
        """Let an operation take longer, or raise DiskFullError where it writes."""
        rates = self.rates
        if rates.full and operation in WRITES:
            self._note(FULL)
            raise DiskFullError(f"{operation} of {uri} was made to meet a full disk.")
        if rates.slow and self._rng.random() < rates.slow:
            self._note(SLOW)
            self._clock.sleep(self._rng.uniform(0.0, rates.slow_seconds))

    def _note(self, kind: str) -> None:
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(_hits_path(self._path), flags, 0o600)
        except OSError:
            return  # the count is for the report alone
        try:
            os.write(descriptor, f"{kind}\n".encode())
        finally:
            os.close(descriptor)


def _hits_path(path: str) -> Path:
    return Path(f"{path}.hits")
