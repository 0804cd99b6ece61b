"""Running a command: how long it takes, how much processor time, and how much memory at once."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.05


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
            sums = [memory_of(process) for process in tree(self._root)]
            pss, rss = sum(pair[0] for pair in sums), sum(pair[1] for pair in sums)
            self._peak = (max(self._peak[0], pss), max(self._peak[1], rss))


def tree(root: int) -> list[int]:
    """Return the ids of a process and all its descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                # The name of the program may hold spaces, so count from its closing bracket.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                children[int(fields[1])].append(int(entry.name))
    found = [root]
    for process in found:
        found.extend(children[process])
    return found


def memory_of(process: int) -> tuple[int, int]:
    """Return PSS and RSS of a process in bytes; zeros once it is gone."""
    sums = {"Pss:": 0, "Rss:": 0}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]:
            name, value, *_ = line.split()
            if name in sums:
                sums[name] = int(value) * 1024
    return sums["Pss:"], sums["Rss:"]
