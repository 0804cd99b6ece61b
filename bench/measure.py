"""Running a command: how long it takes, how much processor time, and how much memory at once."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mrcore.util import proc

SAMPLE_SECONDS = 0.05
CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Measured:
    """A command that ended well."""

    seconds: float
    """Wall-clock time from its start to its end."""
    cpu_seconds: float
    """Processor time of all its processes, which a busy machine changes less."""
    stdout: str
    pss_bytes: int = 0
    """Highest sum over its processes, shared pages counted by share; 0 when not sampled."""
    rss_bytes: int = 0
    """The same with shared pages counted in full by each process."""


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    sample_memory: bool = False,
) -> Measured:
    """Run a command to its end; raise RuntimeError with what it said when it fails.

    Python keeps compiled modules, as it does for users, whatever the caller's environment says.
    """
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    began, cpu_before = time.perf_counter(), _children_cpu_seconds()
    process = subprocess.Popen(
        [os.fspath(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**inherited, **(environment or {})},
        text=True,
    )
    sampler = _Sampler(process.pid) if sample_memory else None
    stdout, stderr = process.communicate()
    seconds = time.perf_counter() - began
    cpu_seconds = _children_cpu_seconds() - cpu_before
    peak = sampler.stop() if sampler is not None else (0, 0)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {stderr[-2_000:]}")
    return Measured(seconds, cpu_seconds, stdout, *peak)


def cpu_seconds_of(process_id: int) -> float:
    """Return the processor time of a process that runs."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes_of(process_id: int) -> int:
    """Return the most memory that a process which runs has held."""
    status = Path(f"/proc/{process_id}/status").read_text()
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak) * 1024


def _children_cpu_seconds() -> float:
    """Return what our ended children, and those that they have waited for, have used so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Sampler:
    """A thread that adds up the memory of a process and all its descendants, again and again."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._peak = (0, 0)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[int, int]:
        """Return the highest sums of PSS and RSS, in bytes."""
        self._stopped.set()
        self._thread.join()
        return self._peak

    def _sample(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            processes = [self._root, *proc.descendants(self._root)]
            pss = sum(map(proc.proportional_bytes, processes))
            rss = sum(map(proc.resident_bytes, processes))
            self._peak = (max(self._peak[0], pss), max(self._peak[1], rss))
